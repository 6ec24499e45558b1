package import CRIModel
internal import ContainerPlan
internal import ImageStore
package import OCISpec
package import PodRuntime

/// A device node of the host, as stat(2) tells.
package struct HostDevice: Hashable, Sendable {
  package var kind: RuntimeSpec.Device.Kind
  package var hostPath: String
  package var major: UInt32
  package var minor: UInt32
  package var mode: UInt32
  package var uid: UInt32
  package var gid: UInt32

  package init(
    kind: RuntimeSpec.Device.Kind, hostPath: String, major: UInt32, minor: UInt32, mode: UInt32, uid: UInt32,
    gid: UInt32
  ) {
    self.kind = kind
    self.hostPath = hostPath
    self.major = major
    self.minor = minor
    self.mode = mode
    self.uid = uid
    self.gid = gid
  }
}

/// Everything that decides what a container is, gathered beforehand: the builder itself reads nothing.
package struct ContainerSpecInput: Sendable {
  package var config: CRIContainerConfig
  package var sandbox: SandboxSnapshot
  package var places: ContainerPlaces
  package var imageID: String
  package var imageConfig: ImageConfig
  /// Topmost first.
  package var layers: [String]
  /// Of the image; nil where it has none.
  package var passwd: [UInt8]?
  package var group: [UInt8]?
  /// Requested host path to what is there; a directory has several.
  package var devices: [String: [HostDevice]]
  /// Every device of the node, for privileged containers.
  package var nodeDevices: [HostDevice]
  /// What the daemon has itself and so can give.
  package var nodeCapabilities: [String]
  /// The parsed file of a `localhost` seccomp profile.
  package var localhostSeccomp: SeccompTemplate?
  /// By the index of the mount that asks for it.
  var imageVolumes: [Int: ImageVolume] = [:]
  /// The kernel has an AppArmor profile of `ConfinementReader.defaultProfile`.
  package var hasDefaultProfile = false
  /// What the requested CDI devices change.
  var cdi = CDIRegistry.Edits()

  package init(
    config: CRIContainerConfig, sandbox: SandboxSnapshot, places: ContainerPlaces, imageID: String,
    imageConfig: ImageConfig, layers: [String]
  ) {
    self.config = config
    self.sandbox = sandbox
    self.places = places
    self.imageID = imageID
    self.imageConfig = imageConfig
    self.layers = layers
    devices = [:]
    nodeDevices = []
    nodeCapabilities = ContainerDefaults.allCapabilities
  }
}

/// Translates a CRI request into an OCI runtime specification and what goes with it. Pure: equal inputs, equal outputs.
///
/// What is asked for and not supported is refused by the name of its field; nothing is dropped.
package struct ContainerSpecBuilder {
  let input: ContainerSpecInput
  var config: CRIContainerConfig { input.config }
  var security: CRILinuxContainerSecurityContext { input.config.linux.securityContext }
  /// In a user namespace of its pod's.
  var hasOwnUsers: Bool { input.sandbox.config.users != nil }
  var spec = RuntimeSpec()
  var context = SandboxContext()
  var warnings: [String] = []
  var kept: ContainerConfig

  package static func build(_ input: ContainerSpecInput) throws(RequestRefusal) -> CompiledContainer {
    var builder = ContainerSpecBuilder(input: input)
    try builder.refuseUnsupported()
    try builder.setNames()
    try builder.setProcess()
    try builder.setUser()
    try builder.setCapabilities()
    try builder.setNamespaces()
    try builder.setMounts()
    try builder.setDevices()
    try builder.applyCDI()
    try builder.setSecurity()
    try builder.setResources()
    let root = RootFilesystem.overlay(
      lowerDirectories: input.layers, upperDirectory: input.places.upperDirectory,
      workDirectory: input.places.workDirectory)
    return CompiledContainer(
      config: builder.kept, specification: builder.spec, root: root, context: builder.context,
      warnings: builder.warnings)
  }

  private init(input: ContainerSpecInput) {
    self.input = input
    kept = ContainerConfig(name: input.config.metadata.name, attempt: input.config.metadata.attempt)
  }

  private func refuseUnsupported() throws(RequestRefusal) {
    if config.hasWindows { throw .invalid("windows", "this is a Linux node") }
    if security.privileged && !input.sandbox.config.privileged {
      throw .invalid("linux.security_context.privileged", "its pod sandbox is not privileged")
    }
  }

  private mutating func setNames() throws(RequestRefusal) {
    guard !config.metadata.name.isEmpty else { throw .invalid("metadata.name", "is empty") }
    kept.image = config.image.image
    kept.userSpecifiedImage = config.image.userSpecifiedImage
    kept.imageID = input.imageID
    kept.labels = config.labels
    kept.annotations = config.annotations
    kept.stdin = config.stdin
    kept.stdinOnce = config.stdinOnce
    kept.terminal = config.tty
    let directory = input.sandbox.config.logDirectory
    if !directory.isEmpty && !config.logPath.isEmpty {
      kept.logPath = "\(directory)/\(try Self.relativePath(config.logPath, "log_path"))"
    }
    kept.stopSignal = try StopSignal.number(requested: config.stopSignal, image: input.imageConfig.stopSignal)
  }

  /// A path that stays below the directory that it is appended to.
  static func relativePath(_ path: String, _ field: String) throws(RequestRefusal) -> String {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    guard !path.hasPrefix("/"), !parts.contains(".."), !path.utf8.contains(0) else {
      throw .invalid(field, "\(path): must be relative and without ..")
    }
    return path
  }

  static func absolutePath(_ path: String, _ field: String) throws(RequestRefusal) -> String {
    guard path.hasPrefix("/"), !path.utf8.contains(0) else { throw .invalid(field, "\(path): must be absolute") }
    return path
  }

  private mutating func setProcess() throws(RequestRefusal) {
    var process = spec.process
    process.terminal = config.tty
    process.arguments = try arguments()
    process.environment = try environment()
    let directory = config.workingDir.isEmpty ? input.imageConfig.workingDirectory : config.workingDir
    if config.workingDir.isEmpty {
      // Images may write it without the slash.
      process.workingDirectory = directory.hasPrefix("/") ? directory : "/" + directory
    } else {
      process.workingDirectory = try Self.absolutePath(directory, "working_dir")
    }
    process.noNewPrivileges = security.noNewPrivs
    spec.process = process
    spec.root.readonly = security.readonlyRootfs
  }

  /// A command replaces the image's entry point and its default arguments; arguments alone replace the latter.
  private func arguments() throws(RequestRefusal) -> [String] {
    let command = config.command.isEmpty ? input.imageConfig.entrypoint : config.command
    let defaults = config.command.isEmpty ? input.imageConfig.command : []
    let all = command + (config.args.isEmpty ? defaults : config.args)
    guard let program = all.first else {
      throw .invalid("command", "is empty, and so are entry point and command of image \(config.image.image)")
    }
    guard !program.isEmpty else { throw .invalid("command", "names no program") }
    guard !all.contains(where: { $0.utf8.contains(0) }) else { throw .invalid("command", "has a NUL byte") }
    return all
  }

  static let defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

  /// The image's, then the request's, later ones of a name in the place of the first.
  private func environment() throws(RequestRefusal) -> [String] {
    var merged: [(name: Substring, entry: String)] = []
    var places: [Substring: Int] = [:]
    func set(_ entry: String) {
      let name = entry.prefix { $0 != "=" }
      if let place = places[name] {
        merged[place].entry = entry
      } else {
        places[name] = merged.count
        merged.append((name, entry))
      }
    }
    set(Self.defaultPath)
    if !input.sandbox.config.hostname.isEmpty { set("HOSTNAME=\(input.sandbox.config.hostname)") }
    if config.tty { set("TERM=xterm") }
    for entry in input.imageConfig.environment where entry.utf8.first != UInt8(ascii: "=") && !entry.utf8.contains(0) {
      set(entry.contains("=") ? entry : entry + "=")
    }
    for (index, variable) in config.envs.enumerated() {
      let bytes = variable.key.utf8
      guard !bytes.isEmpty, !bytes.contains(UInt8(ascii: "=")), !bytes.contains(0), !variable.value.utf8.contains(0)
      else { throw .invalid("envs[\(index)]", "\(variable.key): a name is needed, without = and NUL") }
      set("\(variable.key)=\(variable.value)")
    }
    return merged.map(\.entry)
  }

  private mutating func setUser() throws(RequestRefusal) {
    let resolved = try resolveUser()
    spec.process.user = resolved.user
    kept.user = resolved.user
    if !spec.process.environment.contains(where: { $0.hasPrefix("HOME=") }) {
      spec.process.environment.append("HOME=\(resolved.home)")
    }
  }

  private func resolveUser() throws(RequestRefusal) -> ResolvedUser {
    let field = "linux.security_context"
    var text = input.imageConfig.user
    if security.hasRunAsUser {
      text = "\(try Self.id(security.runAsUser.value, "\(field).run_as_user"))"
    } else if !security.runAsUsername.isEmpty {
      text = security.runAsUsername
    }
    var group: UInt32?
    if security.hasRunAsGroup {
      guard security.hasRunAsUser || !security.runAsUsername.isEmpty else {
        throw .invalid("\(field).run_as_group", "needs run_as_user or run_as_username")
      }
      group = try Self.id(security.runAsGroup.value, "\(field).run_as_group")
    }
    var extra: [UInt32] = []
    for group in security.supplementalGroups { extra.append(try Self.id(group, "\(field).supplemental_groups")) }
    do throws(PlanError) {
      var resolved = try ResolvedUser.resolve(
        text, passwd: input.passwd, group: input.group, additionalGroups: extra)
      if let group {
        // In the place of the primary group; what the image's /etc/group says of the user holds all the same.
        let others = resolved.user.additionalGroups.filter { $0 != resolved.user.gid && $0 != group }
        resolved.user.gid = group
        resolved.user.additionalGroups = [group] + others
      }
      switch security.supplementalGroupsPolicy {
      case .merge: break
      // The primary group stays one of the process's groups: without it a file that denies that group would be open.
      case .strict:
        var seen: Set<UInt32> = []
        resolved.user.additionalGroups = ([resolved.user.gid] + extra).filter { seen.insert($0).inserted }
      case .UNRECOGNIZED(let number):
        throw PlanError("supplemental_groups_policy", "\(number) is unknown")
      }
      return resolved
    } catch {
      throw .invalid("user \(text)", error.description)
    }
  }

  private static func id(_ value: Int64, _ field: String) throws(RequestRefusal) -> UInt32 {
    guard (0...Int64(ImageUser.idMax)).contains(value) else {
      throw .invalid(field, "\(value) is not between 0 and \(ImageUser.idMax)")
    }
    return UInt32(value)
  }
}
