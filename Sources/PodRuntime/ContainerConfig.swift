package import ContainerPlan
package import OCISpec

/// A mount as the status of a container shows it.
package struct MountNote: Hashable, Sendable {
  package var containerPath: String
  package var hostPath: String
  package var isReadOnly: Bool
  package var isRecursivelyReadOnly: Bool
  /// "private", "hostToContainer" or "bidirectional".
  package var propagation: String
  /// Of an image volume as the caller wrote it; empty for a mount of the host.
  package var image = ""
  /// "sha256:…" of the image; empty for a mount of the host.
  package var imageID = ""
  /// Directory or file of the image that is mounted; empty for its root.
  package var imageSubPath = ""

  package init(
    containerPath: String, hostPath: String, isReadOnly: Bool, isRecursivelyReadOnly: Bool, propagation: String
  ) {
    self.containerPath = containerPath
    self.hostPath = hostPath
    self.isReadOnly = isReadOnly
    self.isRecursivelyReadOnly = isRecursivelyReadOnly
    self.propagation = propagation
  }
}

/// What lists and statuses show of a container, and what its life needs to know.
package struct ContainerConfig: Hashable, Sendable {
  package var name: String
  package var attempt: UInt32
  /// As the caller wrote it.
  package var image: String
  package var userSpecifiedImage: String
  /// "sha256:…", the image's configuration.
  package var imageID: String
  package var labels: [String: String]
  package var annotations: [String: String]
  package var mounts: [MountNote]
  /// Absolute path on the node; empty: output is dropped.
  package var logPath: String
  package var stdin: Bool
  package var stdinOnce: Bool
  package var terminal: Bool
  package var resources: LinuxResources
  /// Linux signal number.
  package var stopSignal: Int32
  package var user: RuntimeSpec.User

  package init(name: String, attempt: UInt32) {
    self.name = name
    self.attempt = attempt
    image = ""
    userSpecifiedImage = ""
    imageID = ""
    labels = [:]
    annotations = [:]
    mounts = []
    logPath = ""
    stdin = false
    stdinOnce = false
    terminal = false
    resources = LinuxResources()
    stopSignal = 15
    user = RuntimeSpec.User()
  }
}

/// Where the files of a container lie, fixed by its id before anything else of it is known.
package struct ContainerPlaces: Hashable, Sendable {
  package var containerID: String
  package var sandboxID: String
  /// `<run>/pods/<sandbox>`: resolv.conf, hosts and hostname of the pod.
  package var podDirectory: String
  /// `<run>/pods/<sandbox>/containers/<id>`.
  package var directory: String
  /// `<root>/containers/<id>`, with the writable layer `upper` and overlayfs's own `work`.
  package var storageDirectory: String

  package init(
    containerID: String, sandboxID: String, podDirectory: String, directory: String, storageDirectory: String
  ) {
    self.containerID = containerID
    self.sandboxID = sandboxID
    self.podDirectory = podDirectory
    self.directory = directory
    self.storageDirectory = storageDirectory
  }

  package var upperDirectory: String { storageDirectory + "/upper" }
  package var workDirectory: String { storageDirectory + "/work" }
}

/// What CRIServer makes of a request: the specification and all that goes with it. Made again from the request's bytes
/// where a daemon restarted since.
package struct CompiledContainer: Sendable {
  package var config: ContainerConfig
  package var specification: RuntimeSpec
  package var root: RootFilesystem
  package var context: SandboxContext
  /// Sentences for the log: what was asked for and may be left out.
  package var warnings: [String]

  package init(
    config: ContainerConfig, specification: RuntimeSpec, root: RootFilesystem, context: SandboxContext,
    warnings: [String] = []
  ) {
    self.config = config
    self.specification = specification
    self.root = root
    self.context = context
    self.warnings = warnings
  }
}

/// Makes a container of a request; called with the places of the new id.
package typealias ContainerCompiler =
  @Sendable (_ places: ContainerPlaces, _ sandbox: SandboxSnapshot) async throws -> CompiledContainer
