package import CRIModel
internal import ContainerPlan
internal import GRPCCore
package import ImageStore
internal import JSON
internal import Kernel
internal import OCISpec
package import PodRuntime
internal import SwiftProtobuf
internal import Synchronization
// JSON of the generated messages is of its Data.
internal import FoundationEssentials

/// Reads what a container's specification depends on beside the request: the image, its accounts, devices of the node,
/// seccomp profiles. Then the pure builder decides.
package final class ContainerGatherer: Sendable {
  private let images: ImageStore
  private let seccomp: SeccompPrograms
  private let accounts = Mutex<[Digest: Accounts]>([:])

  private struct Accounts {
    var passwd: [UInt8]?
    var group: [UInt8]?
  }

  /// Images whose account files are kept in memory; each is at most 2 MiB.
  private static let accountsMax = 64
  /// Of /etc/passwd or /etc/group, bytes.
  private static let accountBytesMax = 1 << 20
  /// Of a seccomp profile, bytes.
  private static let profileBytesMax = 1 << 20
  /// Nodes of one requested device directory.
  private static let devicesMax = 256

  private let nodeCapabilities: [String]

  package init(images: ImageStore, seccomp: SeccompPrograms) {
    nodeCapabilities = Self.boundingSet() ?? ContainerDefaults.allCapabilities
    self.images = images
    self.seccomp = seccomp
  }

  private static func boundingSet() -> [String]? {
    guard let status = (try? Files.readText("/proc/self/status")).flatMap({ $0 }) else { return nil }
    let line = status.split(separator: "\n").first { $0.hasPrefix("CapBnd:") }
    return line?.split(separator: "\t").last.flatMap { UInt64($0, radix: 16) }.map(ContainerDefaults.capabilities)
  }

  /// The request as it is kept on disk: equal requests give equal bytes.
  package static func encode(_ config: CRIContainerConfig) throws -> [UInt8] {
    var options = JSONEncodingOptions()
    options.useDeterministicOrdering = true
    return try config.jsonUTF8Bytes(options: options)
  }

  package static func decode(_ bytes: [UInt8]) throws -> CRIContainerConfig {
    try CRIContainerConfig(jsonUTF8Bytes: bytes)
  }

  /// Holds the image for the container, then builds. The runtime releases the image where anything fails.
  package func compile(
    _ config: CRIContainerConfig, _ places: ContainerPlaces, _ sandbox: SandboxSnapshot
  ) async throws -> CompiledContainer {
    do {
      guard !config.image.image.isEmpty else { throw RequestRefusal.invalid("image.image", "is empty") }
      let image = try await images.hold(config.image.image, for: places.containerID)
      var input = ContainerSpecInput(
        config: config, sandbox: sandbox, places: places, imageID: image.id.description, imageConfig: image.config,
        layers: image.layerDirectories)
      input.nodeCapabilities = nodeCapabilities
      let accounts = try accounts(of: image)
      input.passwd = accounts.passwd
      input.group = accounts.group
      try Self.checkMounts(config)
      for (index, mount) in config.mounts.enumerated() where mount.hasImage {
        try ContainerSpecBuilder.checkImageVolume(mount, "mounts[\(index)]")
        input.imageVolumes[index] = try await images.volume(
          mount.image.image, subPath: mount.imageSubPath, for: places.containerID)
      }
      for device in config.devices { input.devices[device.hostPath] = try Self.devices(device.hostPath) }
      if !config.cdiDevices.isEmpty {
        input.cdi = try CDIFiles.registry().edits(of: config.cdiDevices.map(\.name))
        for node in input.cdi.nodes where node.kind == nil || node.major == nil {
          input.devices[node.hostPath] = try Self.devices(node.hostPath)
        }
      }
      let security = config.linux.securityContext
      input.hasDefaultProfile = Self.hasDefaultProfile()
      try Self.checkConfinement(security)
      if security.privileged { input.nodeDevices = Self.nodeDevices() }
      if security.hasSeccomp, security.seccomp.profileType == .localhost {
        input.localhostSeccomp = try Self.localhostProfile(security.seccomp.localhostRef)
      }
      var compiled = try ContainerSpecBuilder.build(input)
      try await AnonymousVolumes(images: images).add(to: &compiled, image: image, places: places)
      if let profile = compiled.specification.linux.seccomp {
        compiled.context.seccompProgram = try seccomp.program(profile)
      }
      return compiled
    } catch {
      throw RPCStatus.runtimeError(error, stage: "CreateContainer", subject: config.metadata.name)
    }
  }

  private static func checkMounts(_ config: CRIContainerConfig) throws {
    for (index, mount) in config.mounts.enumerated() where mount.hostPath.hasPrefix("/") {
      guard try Files.status(mount.hostPath, follow: true) != nil else {
        throw RequestRefusal.invalid("mounts[\(index)].host_path", "\(mount.hostPath): does not exist on the node")
      }
    }
  }

  /// What the node's kernel cannot confine with is refused by its field, before the plan would.
  private static func checkConfinement(_ security: CRILinuxContainerSecurityContext) throws(RequestRefusal) {
    let field = "linux.security_context"
    let labels = try ConfinementReader.labels(security.selinuxOptions, "\(field).selinux_options")
    if labels != nil, !SecurityModules.hasSELinux {
      throw .unsupported("\(field).selinux_options", "SELinux labels are not supported by this node's kernel")
    }
    if ConfinementReader.asksForProfile(security), !SecurityModules.hasAppArmor {
      throw .unsupported("\(field).apparmor", "AppArmor profiles are not supported by this node's kernel")
    }
  }

  private static func hasDefaultProfile() -> Bool {
    guard SecurityModules.hasAppArmor else { return false }
    let loaded = (try? Files.readText("/sys/kernel/security/apparmor/profiles")).flatMap { $0 } ?? ""
    return loaded.split(separator: "\n").contains { $0.hasPrefix("\(ConfinementReader.defaultProfile) ") }
  }

  private static func localhostProfile(_ path: String) throws -> SeccompTemplate {
    let field = "linux.security_context.seccomp.localhost_ref"
    guard path.hasPrefix("/") else { throw RequestRefusal.invalid(field, "\(path): must be absolute") }
    let text: [UInt8]
    do {
      text = try Files.read(path, maxBytes: profileBytesMax)
    } catch {
      throw RequestRefusal.invalid(field, "\(path): \(error)")
    }
    do {
      return try SeccompTemplate(json: try JSONValue.parse(text))
    } catch {
      throw RequestRefusal.invalid(field, "\(path): \(error)")
    }
  }

  // MARK: Accounts

  private func accounts(of image: ImageRecord) throws -> Accounts {
    if let known = accounts.withLock({ $0[image.id] }) { return known }
    let found = Accounts(
      passwd: try Self.file("etc", "passwd", in: image.layerDirectories),
      group: try Self.file("etc", "group", in: image.layerDirectories))
    accounts.withLock { all in
      if all.count >= Self.accountsMax { all.removeAll() }
      all[image.id] = found
    }
    return found
  }

  /// A file one directory deep as the stacked layers show it: the topmost layer that says anything about it decides.
  ///
  /// Everything in a layer was chosen by its author: resolved below the layer, and only regular files are read.
  private static func file(_ directory: String, _ name: String, in layers: [String]) throws -> [UInt8]? {
    for layer in layers {
      let root = try Directory(path: layer)
      if let status = try Files.status("\(layer)/\(directory)"), status.kind == .characterDevice { return nil }
      do throws(SyscallError) {
        let found = try root.openInRoot("\(directory)/\(name)", flags: OpenFlags.readOnly | OpenFlags.nonBlocking)
        let status = try found.status()
        guard status.kind == .file else { return nil }
        return try found.readAll(maxBytes: accountBytesMax)
      } catch {
        if error.errno == Errno.noEntry || error.errno == Errno.notDirectory { continue }
        // A whiteout is a device node that cannot be opened.
        if [Errno.noDeviceOrAddress, Errno.noDevice].contains(error.errno) { return nil }
        throw RequestRefusal.invalid("image", "its /\(directory)/\(name) cannot be read: \(error)")
      }
    }
    return nil
  }

  // MARK: Devices

  private static func device(_ path: String) throws -> HostDevice? {
    guard let status = try Files.status(path, follow: true) else { return nil }
    let kind: RuntimeSpec.Device.Kind
    switch status.kind {
    case .characterDevice: kind = .character
    case .blockDevice: kind = .block
    default: return nil
    }
    let number = status.representedDevice
    // glibc's encoding of dev_t.
    let major = UInt32((number >> 8) & 0xfff) | UInt32((number >> 32) & 0xffff_f000)
    let minor = UInt32(number & 0xff) | UInt32((number >> 12) & 0xffff_ff00)
    return HostDevice(
      kind: kind, hostPath: path, major: major, minor: minor, mode: status.mode & 0o777, uid: status.owner,
      gid: status.group)
  }

  /// The device at a path, or all below it where it is a directory.
  private static func devices(_ path: String) throws -> [HostDevice] {
    guard path.hasPrefix("/") else { return [] }
    if let one = try device(path) { return [one] }
    guard let status = try Files.status(path, follow: true), status.kind == .directory else { return [] }
    var found: [HostDevice] = []
    var open = [path]
    while let next = open.popLast() {
      for entry in try Directory(path: next).list().sorted(by: { $0.name < $1.name }) {
        let inner = "\(next)/\(entry.name)"
        if entry.kind == .directory { open.append(inner) } else if let one = try device(inner) { found.append(one) }
        guard found.count <= devicesMax else {
          throw RequestRefusal.invalid("devices", "\(path): has more than \(devicesMax) devices")
        }
      }
    }
    return found
  }

  /// Every device node of the node's /dev, without the terminals and what a container has of its own.
  private static func nodeDevices() -> [HostDevice] {
    let own: Set = ["pts", "shm", "fd", "mqueue", "console", "ptmx", ".lxc", ".lxd-mounts", ".udev"]
    var found: [HostDevice] = []
    var open = ["/dev"]
    while let next = open.popLast() {
      for entry in (try? Directory(path: next).list()) ?? [] {
        if next == "/dev" && own.contains(entry.name) { continue }
        let inner = "\(next)/\(entry.name)"
        switch entry.kind {
        case .directory: open.append(inner)
        case .other: if let one = (try? device(inner)).flatMap({ $0 }) { found.append(one) }
        case .file, .symlink: break
        }
      }
    }
    return found.sorted { $0.hostPath < $1.hostPath }
  }
}
