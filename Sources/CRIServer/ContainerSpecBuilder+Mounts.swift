internal import CRIModel
internal import ContainerPlan
internal import ImageStore
internal import OCISpec
internal import PodRuntime

extension ContainerSpecBuilder {
  private typealias Mount = RuntimeSpec.Mount

  mutating func setMounts() throws(RequestRefusal) {
    var asked: [Mount] = []
    for (index, mount) in config.mounts.enumerated() {
      asked.append(try requestedMount(mount, "mounts[\(index)]", index))
      kept.mounts.append(note(mount, index))
    }
    // Parents before what lies in them, otherwise in the caller's order.
    let ordered = asked.enumerated().sorted { ($0.element.depth, $0.offset) < ($1.element.depth, $1.offset) }
    let covered = Set(asked.map { Self.normal($0.destination) })
    spec.mounts = defaultMounts().filter { !covered.contains($0.destination) } + ordered.map(\.element)
    context.files = podFiles().filter { !covered.contains($0.containerPath) }
    if covered.contains("/dev/shm") { context.sharedMemory = .asSpecified }
  }

  /// Without doubled and final slashes.
  static func normal(_ path: String) -> String { "/" + path.split(separator: "/").joined(separator: "/") }

  private func defaultMounts() -> [Mount] {
    let system = ["nosuid", "noexec", "nodev"]
    let access = security.privileged ? "rw" : "ro"
    return [
      Mount(destination: "/proc", type: "proc", source: "proc", options: system),
      Mount(
        destination: "/dev", type: "tmpfs", source: "tmpfs",
        options: ["nosuid", "strictatime", "mode=755", "size=65536k"]),
      Mount(
        destination: "/dev/pts", type: "devpts", source: "devpts",
        options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
      Mount(destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: system),
      Mount(destination: "/sys", type: "sysfs", source: "sysfs", options: system + [access]),
      Mount(
        destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: system + ["relatime", access]),
    ]
  }

  private func podFiles() -> [SandboxContext.PodFile] {
    let directory = input.places.podDirectory
    let readOnly = security.readonlyRootfs
    return [
      SandboxContext.PodFile(
        hostPath: "\(directory)/hostname", containerPath: "/etc/hostname", isReadOnly: readOnly),
      SandboxContext.PodFile(hostPath: "\(directory)/hosts", containerPath: "/etc/hosts", isReadOnly: readOnly),
      SandboxContext.PodFile(
        hostPath: "\(directory)/resolv.conf", containerPath: "/etc/resolv.conf", isReadOnly: readOnly),
    ]
  }

  /// An image is shared by all that use it: nobody may write to it.
  static func checkImageVolume(_ mount: CRIMount, _ field: String) throws(RequestRefusal) {
    guard !mount.image.image.isEmpty else { throw .invalid("\(field).image.image", "is empty") }
    guard mount.readonly else { throw .invalid("\(field).readonly", "an image volume can only be read") }
    guard mount.hostPath.isEmpty else { throw .invalid("\(field).host_path", "an image volume has none") }
    guard mount.propagation == .propagationPrivate else {
      throw .invalid("\(field).propagation", "an image volume has none")
    }
  }

  private func requestedMount(_ mount: CRIMount, _ field: String, _ index: Int) throws(RequestRefusal) -> Mount {
    let mapped = try UserNamespaceReader.mount(mount, field)
    let destination = try Self.absolutePath(mount.containerPath, "\(field).container_path")
    guard Self.normal(destination) != "/" else { throw .invalid("\(field).container_path", "is the root itself") }
    if mount.hasImage {
      try Self.checkImageVolume(mount, field)
      guard let volume = input.imageVolumes[index] else {
        throw .invalid("\(field).image", "\(mount.image.image): not read")
      }
      return volume.mount(at: destination)
    }
    guard mount.imageSubPath.isEmpty else { throw .invalid("\(field).image_sub_path", "needs an image") }
    guard !mount.hostPath.isEmpty else { throw .invalid("\(field).host_path", "is empty") }
    let source = try Self.absolutePath(mount.hostPath, "\(field).host_path")
    var options = ["rbind"]
    switch mount.propagation {
    case .propagationPrivate: options.append("rprivate")
    case .propagationHostToContainer: options.append("rslave")
    case .propagationBidirectional: options.append("rshared")
    case .UNRECOGNIZED(let number): throw .unsupported("\(field).propagation", "\(number) is unknown")
    }
    if mount.recursiveReadOnly {
      guard mount.readonly, mount.propagation == .propagationPrivate else {
        throw .invalid("\(field).recursive_read_only", "needs readonly and PROPAGATION_PRIVATE")
      }
      options.append("rro")
    } else {
      options.append(mount.readonly ? "ro" : "rw")
    }
    var bind = Mount(destination: destination, type: "bind", source: source, options: options)
    bind.uidMappings = mapped.uids
    bind.gidMappings = mapped.gids
    return bind
  }

  private func note(_ mount: CRIMount, _ index: Int) -> MountNote {
    let propagation =
      switch mount.propagation {
      case .propagationHostToContainer: "hostToContainer"
      case .propagationBidirectional: "bidirectional"
      default: "private"
      }
    var note = MountNote(
      containerPath: mount.containerPath, hostPath: mount.hostPath, isReadOnly: mount.readonly,
      isRecursivelyReadOnly: mount.recursiveReadOnly, propagation: propagation)
    if let volume = input.imageVolumes[index] {
      note.image = mount.image.image
      note.imageID = volume.imageID.description
      note.imageSubPath = mount.imageSubPath
    }
    return note
  }

  mutating func setDevices() throws(RequestRefusal) {
    var devices: [RuntimeSpec.Device] = []
    var rules = Self.defaultRules
    if security.privileged {
      devices = input.nodeDevices.map { Self.node($0, at: $0.hostPath) }
      rules = [RuntimeSpec.DeviceRule(allow: true)]
    }
    for (index, device) in config.devices.enumerated() {
      let field = "devices[\(index)]"
      let containerPath = device.containerPath.isEmpty ? device.hostPath : device.containerPath
      _ = try Self.absolutePath(containerPath, "\(field).container_path")
      let access = device.permissions.isEmpty ? "rwm" : device.permissions
      guard access.utf8.allSatisfy({ "rwm".utf8.contains($0) }) else {
        throw .invalid("\(field).permissions", "\(access): made of r, w and m")
      }
      guard let found = input.devices[device.hostPath], !found.isEmpty else {
        throw .invalid("\(field).host_path", "\(device.hostPath): no device is there")
      }
      for host in found {
        let path = containerPath + host.hostPath.dropFirst(device.hostPath.count)
        devices.removeAll { $0.path == path }
        devices.append(Self.node(host, at: path))
        rules.append(
          RuntimeSpec.DeviceRule(
            allow: true, kind: host.kind == .block ? .block : .character, major: host.major, minor: host.minor,
            access: access))
      }
    }
    spec.linux.devices = devices
    spec.linux.deviceRules = rules
  }

  /// Nodes may be made, but only those that every container has may be opened: null, zero, full, random, urandom, tty,
  /// console, ptmx and the terminals behind it.
  private static let defaultRules: [RuntimeSpec.DeviceRule] =
    [
      RuntimeSpec.DeviceRule(allow: false),
      RuntimeSpec.DeviceRule(allow: true, kind: .character, access: "m"),
      RuntimeSpec.DeviceRule(allow: true, kind: .block, access: "m"),
    ]
    + [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, nil)].map { major, minor in
      RuntimeSpec.DeviceRule(allow: true, kind: .character, major: major, minor: minor)
    }

  private static func node(_ device: HostDevice, at path: String) -> RuntimeSpec.Device {
    RuntimeSpec.Device(
      kind: device.kind, path: path, major: device.major, minor: device.minor, mode: device.mode, uid: device.uid,
      gid: device.gid)
  }
}

extension RuntimeSpec.Mount {
  /// Components of the destination.
  fileprivate var depth: Int { destination.split(separator: "/").count }
}

extension ContainerSpecBuilder {
  /// What devices of CDI change, after everything that the request says itself: a vendor's own edits win.
  mutating func applyCDI() throws(RequestRefusal) {
    let edits = input.cdi
    for entry in edits.environment {
      let name = entry.prefix { $0 != "=" } + "="
      spec.process.environment.removeAll { $0.hasPrefix(name) }
      spec.process.environment.append(entry)
    }
    for node in edits.nodes {
      let device = try cdiDevice(node)
      spec.linux.devices.removeAll { $0.path == device.path }
      spec.linux.devices.append(device)
      guard device.kind != .fifo else { continue }
      spec.linux.deviceRules.append(
        RuntimeSpec.DeviceRule(
          allow: true, kind: device.kind == .block ? .block : .character, major: device.major, minor: device.minor,
          access: node.access))
    }
    for mount in edits.mounts {
      spec.mounts.removeAll { Self.normal($0.destination) == Self.normal(mount.destination) }
      spec.mounts.append(mount)
    }
    let groups = edits.additionalGroups.filter { !spec.process.user.additionalGroups.contains($0) }
    spec.process.user.additionalGroups += groups
    kept.user.additionalGroups = spec.process.user.additionalGroups
  }

  private func cdiDevice(_ node: CDIRegistry.Edits.Node) throws(RequestRefusal) -> RuntimeSpec.Device {
    let found = input.devices[node.hostPath]?.first
    guard let kind = node.kind ?? found?.kind, let major = node.major ?? found?.major ?? (kind == .fifo ? 0 : nil),
      let minor = node.minor ?? found?.minor ?? (kind == .fifo ? 0 : nil)
    else { throw .invalid("CDI_devices", "\(node.hostPath): no device is there") }
    return RuntimeSpec.Device(
      kind: kind, path: node.path, major: major, minor: minor, mode: (node.mode ?? found?.mode ?? 0o660) & 0o777,
      uid: node.uid ?? found?.uid ?? spec.process.user.uid, gid: node.gid ?? found?.gid ?? spec.process.user.gid)
  }
}
