/// What a container's root directory is made of.
package enum RootFilesystem: Hashable, Sendable {
  /// An overlay: lower directories with the topmost first, and the writable layer with its work directory beside it on
  /// the same file system. All are absolute host paths that exist.
  case overlay(lowerDirectories: [String], upperDirectory: String, workDirectory: String)
  /// A directory of the host, as a bundle has one. Mount points that it lacks are made in it.
  case directory(String)
}

/// What a plan needs to know beyond the runtime specification: what the container shares with its pod and where the
/// pod's files are.
///
/// Network, IPC and UTS namespaces are not here: the shim is in them, and its containers inherit them.
package struct SandboxContext: Hashable, Sendable {
  package enum ProcessNamespace: Hashable, Sendable {
    /// Its own; its first process is PID 1.
    case container
    /// The pod's, whose PID 1 is the shim's reaper (`ShimConfiguration.sharesProcessNamespace`).
    case pod
    /// The host's.
    case node
    /// That of another running container of the pod.
    case target(containerID: String)
  }

  package enum SharedMemory: Hashable, Sendable {
    /// The pod's tmpfs, which the shim made: for containers in the pod's IPC namespace.
    case pod
    /// The host's /dev/shm.
    case node
    /// What the specification's mounts say.
    case asSpecified
  }

  /// A file of the host that hides one of the container's, such as /etc/hosts.
  package struct PodFile: Hashable, Sendable {
    package var hostPath: String
    package var containerPath: String
    package var isReadOnly: Bool

    package init(hostPath: String, containerPath: String, isReadOnly: Bool = false) {
      self.hostPath = hostPath
      self.containerPath = containerPath
      self.isReadOnly = isReadOnly
    }
  }

  package var processNamespace = ProcessNamespace.container
  /// A cgroup namespace of its own, rooted at the container's cgroup.
  package var hasCgroupNamespace = true
  package var sharedMemory = SharedMemory.asSpecified
  /// hostname, hosts, resolv.conf, termination log: bound over the root's after the specification's own mounts, and
  /// left out where one of those has the same destination.
  package var files: [PodFile] = []
  /// The compiled program for `linux.seccomp`, as `SeccompPrograms` gives it. A specification with a profile and no
  /// program is refused.
  package var seccompProgram: [UInt8]?
  /// Makes the working directory, as images expect, where it is missing.
  package var createsWorkingDirectory = true
  /// The IPC and UTS namespaces are this container's pod's, not the host's: needed for kernel.* and fs.mqueue.* sysctls
  /// and a hostname of its own.
  package var hasOwnIPC = true
  package var hasOwnUTS = true
  package var hasOwnNetwork = true
  /// What the node's kernel confines processes with; a profile or label that it cannot apply is refused.
  package var hasAppArmor = false
  package var hasSELinux = false

  package init() {}
}
