internal import OCISpec

/// The file systems' half of a container's plan. The paths of the host are opened first, in the host's mount namespace;
/// then everything is attached in the container's own.
struct PlanCompiler {
  let spec: RuntimeSpec
  let context: SandboxContext
  let users: UserMappings?
  private(set) var operations: [PlanOperation] = []
  private(set) var devSlot: PlanOperation.Slot?
  private(set) var devptsSlot: PlanOperation.Slot?
  /// The kernel's own file systems that this plan has made, by where they are mounted.
  private var made: [String: PlanOperation.Slot] = [:]

  private struct PreparedMount {
    var destination: String
    var type: String
    var source: String
    var options: MountOptions
    var field: String
    var subPath = ""
    /// Of what was opened on the host's side; nil for file systems made on the container's.
    var slot: PlanOperation.Slot?
  }

  private var mounts: [PreparedMount] = []
  private var podFiles: [(slot: PlanOperation.Slot, file: SandboxContext.PodFile)] = []
  private var rootSlot = PlanOperation.Slot.root
  private var nextSlot = PlanOperation.Slot.firstFree

  init(spec: RuntimeSpec, context: SandboxContext, users: UserMappings?) {
    self.spec = spec
    self.context = context
    self.users = users
  }

  mutating func add(_ operation: PlanOperation) { operations.append(operation) }

  private mutating func newSlot(_ name: String, field: String) throws(PlanError) -> PlanOperation.Slot {
    guard nextSlot < PlanOperation.Slot.count else {
      throw PlanError(field, "more than \(PlanOperation.Slot.count - PlanOperation.Slot.firstFree) mounts")
    }
    defer { nextSlot += 1 }
    return PlanOperation.Slot(number: nextSlot, name: name)
  }

  // MARK: On the host's side

  mutating func prepareRoot(_ root: RootFilesystem) throws(PlanError) {
    let slot = try newSlot("root", field: "root")
    rootSlot = slot
    switch root {
    case .overlay(let lower, let upper, let work):
      guard !lower.isEmpty, lower.count <= 500 else {
        throw PlanError("root", "an overlay of \(lower.count) layers; it has from 1 to 500")
      }
      add(.openFileSystem(slot: slot, type: "overlay"))
      for directory in lower { try addLayer(directory, to: slot, field: "root") }
      add(.setOption(slot: slot, key: "upperdir", value: try checkedPath(upper, field: "root")))
      add(.setOption(slot: slot, key: "workdir", value: try checkedPath(work, field: "root")))
      // A writable layer lives no longer than its container. Without this its unmount, and every fsync in the
      // container, would write back the whole file system that it is on, whatever else is busy there.
      add(.setFlag(slot: slot, key: "volatile"))
      try addLabel(to: slot)
      add(.makeMount(slot: slot, attributes: []))
    case .directory(let path):
      add(.copyTree(slot: slot, path: try checkedPath(path, field: "root"), isRecursive: true, isNullDevice: false))
      add(.setAttributes(slot: slot, set: [], clear: [], propagation: .private, isRecursive: true))
      if users != nil { add(.mapIDs(slot: slot, isRecursive: true)) }
    }
    switch spec.linux.rootfsPropagation {
    case "", "private", "rprivate", "slave", "rslave": break
    case "shared", "rshared":
      add(.setAttributes(slot: slot, set: [], clear: [], propagation: .shared, isRecursive: true))
    case "unbindable", "runbindable":
      add(.setAttributes(slot: slot, set: [], clear: [], propagation: .unbindable, isRecursive: true))
    default:
      throw PlanError("linux.rootfsPropagation", "\"\(spec.linux.rootfsPropagation)\" is not a propagation")
    }
  }

  /// A directory of the host below an overlay. In a user namespace its files belong to whom they belong to in the image,
  /// which is another id of the host's: the layer is mounted with its ids mapped.
  private mutating func addLayer(
    _ directory: String, to overlay: PlanOperation.Slot, field: String
  ) throws(PlanError) {
    let path = try checkedPath(directory, field: field)
    guard users != nil else { return add(.setOption(slot: overlay, key: "lowerdir+", value: path)) }
    let layer = try newSlot(path, field: field)
    add(.copyTree(slot: layer, path: path, isRecursive: false, isNullDevice: false))
    add(.setAttributes(slot: layer, set: [], clear: [], propagation: .private, isRecursive: false))
    add(.mapIDs(slot: layer, isRecursive: false))
    add(.setLayer(slot: overlay, key: "lowerdir+", layer: layer))
  }

  private mutating func addLabel(to slot: PlanOperation.Slot) throws(PlanError) {
    let label = spec.linux.mountLabel
    guard !label.isEmpty else { return }
    guard context.hasSELinux else {
      throw PlanError("linux.mountLabel", "\(label): the kernel of this node runs without SELinux")
    }
    add(.setOption(slot: slot, key: "context", value: label))
  }

  mutating func prepareMounts() throws(PlanError) {
    for (index, mount) in spec.mounts.enumerated() { try prepare(mount, field: "mounts[\(index)]") }
    if context.sharedMemory != .asSpecified, !mounts.contains(where: { $0.destination == "/dev/shm" }) {
      try prepare(RuntimeSpec.Mount(destination: "/dev/shm", type: "tmpfs", source: "shm"), field: "mounts")
    }
    let taken = Set(mounts.map(\.destination))
    for file in context.files where !taken.contains(file.containerPath) {
      let field = "file \(file.containerPath)"
      let slot = try newSlot(file.hostPath, field: field)
      add(
        .copyTree(
          slot: slot, path: try checkedPath(file.hostPath, field: field), isRecursive: false, isNullDevice: false))
      add(
        .setAttributes(
          slot: slot, set: file.isReadOnly ? .readOnly : [], clear: [], propagation: .private, isRecursive: false))
      podFiles.append((slot, file))
    }
    if !spec.linux.maskedPaths.isEmpty {
      add(.copyTree(slot: .nullDevice, path: "/dev/null", isRecursive: false, isNullDevice: true))
      add(.setAttributes(slot: .nullDevice, set: [], clear: [], propagation: .private, isRecursive: false))
    }
  }

  private mutating func prepare(_ mount: RuntimeSpec.Mount, field: String) throws(PlanError) {
    var options = try MountOptions(mount.options, field: "\(field).options")
    let destination = try checkedPath(mount.destination, field: "\(field).destination")
    try Self.checkDestination(destination, field: field)
    var prepared = PreparedMount(
      destination: destination, type: mount.type, source: mount.source, options: options, field: field)
    if !mount.subPath.isEmpty {
      prepared.subPath = String(try checkedPath("/" + mount.subPath, field: "\(field).subPath").dropFirst())
      guard mount.type == "bind" || mount.type == "overlay" || options.isBind else {
        throw PlanError("\(field).subPath", "only a part of a directory of the host or of an image can be mounted")
      }
    }
    let mapsIDs = try mapsIDs(of: mount, options, field: field)
    guard mapsIDs == nil || mount.type == "bind" || options.isBind else {
      throw PlanError("\(field).uidMappings", "ids of a mount of type \(mount.type) cannot be mapped")
    }
    if destination == "/dev/shm", context.sharedMemory != .asSpecified {
      prepared.type = "shm"
      if context.sharedMemory == .node {
        let slot = try newSlot("the host's /dev/shm", field: field)
        add(.copyTree(slot: slot, path: "/dev/shm", isRecursive: false, isNullDevice: false))
        add(.setAttributes(slot: slot, set: [], clear: [], propagation: .private, isRecursive: false))
        prepared.slot = slot
      }
    } else if mount.type == "bind" || options.isBind {
      guard options.data.isEmpty else {
        throw PlanError("\(field).options", "\(options.data[0].key) is no option of a bind mount")
      }
      if mount.options.isEmpty { options.isRecursiveBind = true }
      prepared.type = "bind"
      prepared.slot = try prepareBind(mount, options: options, field: field)
      if let mapsIDs, let slot = prepared.slot { add(.mapIDs(slot: slot, isRecursive: mapsIDs)) }
    } else if mount.type == "overlay" {
      prepared.slot = try prepareStack(options, field: field)
    }
    mounts.append(prepared)
  }

  /// Layers of an image as one directory that nobody writes to: an overlay without an upper directory, made on the host's
  /// side because its layers are there.
  private mutating func prepareStack(
    _ options: MountOptions, field: String
  ) throws(PlanError) -> PlanOperation.Slot {
    let layers = options.data.filter { $0.key == "lowerdir+" }.compactMap(\.value)
    guard layers.count == options.data.count, (2...500).contains(layers.count), options.set.contains(.readOnly) else {
      throw PlanError("\(field).options", "an overlay mount takes ro and from 2 to 500 lowerdir+=DIRECTORY")
    }
    let slot = try newSlot("layers", field: field)
    add(.openFileSystem(slot: slot, type: "overlay"))
    for layer in layers { try addLayer(layer, to: slot, field: "\(field).options") }
    add(.makeMount(slot: slot, attributes: options.set))
    return slot
  }

  private mutating func prepareBind(
    _ mount: RuntimeSpec.Mount, options: MountOptions, field: String
  ) throws(PlanError) -> PlanOperation.Slot {
    let source = try checkedPath(mount.source, field: "\(field).source")
    let slot = try newSlot(source, field: field)
    let isRecursive = options.isRecursiveBind
    add(.copyTree(slot: slot, path: source, isRecursive: isRecursive, isNullDevice: false))
    // What the host does to its mounts later reaches the container only where that was asked for.
    add(
      .setAttributes(
        slot: slot, set: [], clear: [], propagation: options.propagation ?? .private,
        isRecursive: isRecursive && (options.propagation == nil || options.isPropagationRecursive)))
    if !options.set.isEmpty || !options.clear.isEmpty {
      add(.setAttributes(slot: slot, set: options.set, clear: options.clear, propagation: nil, isRecursive: false))
    }
    if !options.recursiveSet.isEmpty || !options.recursiveClear.isEmpty {
      add(
        .setAttributes(
          slot: slot, set: options.recursiveSet, clear: options.recursiveClear, propagation: nil, isRecursive: true))
    }
    return slot
  }

  /// Below /proc only the few files that tools such as lxcfs replace may be covered: anything else could be made to
  /// look as if a protection had been set (CVE-2019-16884).
  private static func checkDestination(_ path: String, field: String) throws(PlanError) {
    if path == "/" { throw PlanError("\(field).destination", "/ is the root itself") }
    let allowed: Set<String> = [
      "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime",
      "/proc/loadavg", "/proc/slabinfo", "/proc/net/dev", "/proc/sys/kernel/ns_last_pid",
      "/proc/sys/crypto/fips_enabled",
    ]
    if path.hasPrefix("/proc/"), !allowed.contains(path) {
      throw PlanError("\(field).destination", "\(path): nothing may be mounted there")
    }
  }

  // MARK: On the container's side

  mutating func enter() {
    add(.enterNamespaces(context.hasCgroupNamespace ? [.mount, .cgroup] : .mount))
    add(.attachRoot(slot: rootSlot))
    if !spec.linux.maskedPaths.isEmpty {
      add(.copyTree(slot: .emptyDirectory, path: "/empty", isRecursive: false, isNullDevice: false))
    }
  }

  mutating func attachMounts() throws(PlanError) {
    for mount in mounts {
      if let slot = mount.slot {
        if !mount.subPath.isEmpty { add(.takePart(slot: slot, path: mount.subPath)) }
        add(.attach(slot: slot, path: mount.destination, missing: .makeSame, refusesLinks: isOurs(mount.destination)))
      } else if mount.type == "shm" {
        let slot = try newSlot("the pod's shared memory", field: mount.field)
        add(.copyTree(slot: slot, path: "/shm", isRecursive: false, isNullDevice: false))
        attachDirectory(slot, on: mount.destination, refusesLinks: true)
      } else {
        try attachFileSystem(mount)
      }
      if mount.destination == "/dev", mount.type == "tmpfs" { try fillDev() }
    }
  }

  /// Paths that the kernel's own file systems are mounted on: an image that has a link there would have them elsewhere.
  private func isOurs(_ path: String) -> Bool {
    ["/dev", "/proc", "/sys"].contains { path == $0 || path.hasPrefix($0 + "/") }
  }

  private mutating func attachFileSystem(_ mount: PreparedMount) throws(PlanError) {
    let type: String
    switch mount.type {
    case "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2": type = mount.type
    case "cgroup": type = "cgroup2"
    default:
      throw PlanError("\(mount.field).type", "file system \(mount.type) is not supported; bind a mount of the host")
    }
    if type == "cgroup2", !context.hasCgroupNamespace {
      throw PlanError("\(mount.field).type", "a cgroup mount needs a cgroup namespace of the container's own")
    }
    let slot = try newSlot(type, field: mount.field)
    let options = mount.options
    let attributes = options.set.union(options.recursiveSet)
    add(.openFileSystem(slot: slot, type: type))
    // Who the file system says is mounted; nobody reads it but people.
    if type == "tmpfs", !mount.source.isEmpty { add(.setOption(slot: slot, key: "source", value: mount.source)) }
    let data = try hostOptions(
      options.data.filter { !Self.isIgnored($0.key, type: type) }, type: type, field: mount.field)
    for (key, value) in data {
      add(value.map { .setOption(slot: slot, key: key, value: $0) } ?? .setFlag(slot: slot, key: key))
    }
    if type == "tmpfs" || type == "devpts" { try addLabel(to: slot) }
    // /dev gets its nodes before it is made read-only.
    let isDev = mount.destination == "/dev"
    add(.makeMount(slot: slot, attributes: isDev ? attributes.subtracting(.readOnly) : attributes))
    if let propagation = options.propagation, propagation != .private {
      add(
        .setAttributes(
          slot: slot, set: [], clear: [], propagation: propagation, isRecursive: options.isPropagationRecursive))
    }
    attachDirectory(slot, on: mount.destination, refusesLinks: isOurs(mount.destination))
    if isDev { devSlot = slot }
    let isAlone = mounts.count { $0.destination == mount.destination } == 1
    if isAlone, ["/dev", "/proc", "/sys"].contains(mount.destination), type != "cgroup2", type != "mqueue" {
      made[mount.destination] = slot
    }
    if type == "devpts", mount.destination == "/dev/pts" { devptsSlot = slot }
  }

  /// The file system of this plan's that a path is a name in, and that name. No one else puts anything there before the
  /// container runs, so that there is nothing to resolve.
  private func within(_ path: String) -> (slot: PlanOperation.Slot, name: String)? {
    let parts = path.split(separator: "/")
    guard parts.count == 2, let slot = made["/" + parts[0]] else { return nil }
    return (slot, String(parts[1]))
  }

  private mutating func attachDirectory(_ slot: PlanOperation.Slot, on path: String, refusesLinks: Bool) {
    if let place = within(path) {
      add(.attach(slot: slot, path: place.name, within: place.slot, missing: .makeDirectory, refusesLinks: true))
    } else {
      add(.attach(slot: slot, path: path, missing: .makeDirectory, refusesLinks: refusesLinks))
    }
  }

  /// Options of cgroup v1 and of old kernels, which configurations still carry and which mean nothing here.
  private static func isIgnored(_ key: String, type: String) -> Bool {
    type == "cgroup2" && (key == "none" || key == "relatime") || type == "devpts" && key == "newinstance"
  }

  private mutating func fillDev() throws(PlanError) {
    guard let dev = devSlot else { return }
    for (name, target) in [
      ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
      ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx"),
    ] {
      add(.makeLink(root: dev, path: name, target: target))
    }
    for device in Self.standardDevices { try addNode(device) }
    for device in spec.linux.devices where device.path.hasPrefix("/dev/") && !Self.isStandard(device.path) {
      try addNode(device)
    }
  }

  private static let standardDevices: [RuntimeSpec.Device] = [
    ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
  ].map { RuntimeSpec.Device(kind: .character, path: "/dev/\($0.0)", major: $0.1, minor: $0.2) }

  private static func isStandard(_ path: String) -> Bool { standardDevices.contains { $0.path == path } }

  /// Nodes outside of a /dev that this plan mounts. A /dev that is bound from the host has its own.
  mutating func addNodes() throws(PlanError) {
    let hasDev = mounts.contains { $0.destination == "/dev" }
    for device in (hasDev ? [] : Self.standardDevices) + spec.linux.devices {
      if device.path.hasPrefix("/dev/"), hasDev || (Self.isStandard(device.path) && spec.linux.devices.contains(device))
      {
        continue
      }
      try addNode(device)
    }
    let isReadOnly = mounts.contains { $0.destination == "/dev" && $0.options.set.contains(.readOnly) }
    if let devSlot, isReadOnly {
      add(.setAttributes(slot: devSlot, set: .readOnly, clear: [], propagation: nil, isRecursive: false))
    }
  }

  private mutating func addNode(_ device: RuntimeSpec.Device) throws(PlanError) {
    let path = try checkedPath(device.path, field: "linux.devices")
    guard device.mode <= 0o7777 else { throw PlanError("linux.devices", "\(path): mode is more than 07777") }
    let kind: UInt32 =
      switch device.kind {
      case .character: 0o020000
      case .block: 0o060000
      case .fifo: 0o010000
      }
    let isInDev = devSlot != nil && path.hasPrefix("/dev/")
    let uid = try users?.hostUser(device.uid, field: "linux.devices") ?? device.uid
    let gid = try users?.hostGroup(device.gid, field: "linux.devices") ?? device.gid
    add(
      .makeNode(
        root: isInDev ? devSlot ?? .root : .root, path: isInDev ? String(path.dropFirst(5)) : path,
        mode: kind | device.mode, major: device.major, minor: device.minor, uid: uid, gid: gid))
  }

  mutating func attachPodFiles() throws(PlanError) {
    for (slot, file) in podFiles {
      let path = try checkedPath(file.containerPath, field: "file \(file.containerPath)")
      add(.attach(slot: slot, path: path, missing: .makeFile, refusesLinks: false))
    }
  }

  mutating func protectPaths() throws(PlanError) {
    for path in spec.linux.readonlyPaths {
      let path = try checkedPath(path, field: "linux.readonlyPaths")
      let place = within(path)
      add(.makeReadOnly(path: place?.name ?? path, within: place?.slot))
    }
    for path in spec.linux.maskedPaths {
      let path = try checkedPath(path, field: "linux.maskedPaths")
      let place = within(path)
      add(.mask(path: place?.name ?? path, within: place?.slot))
    }
    if context.createsWorkingDirectory {
      let path = try checkedPath(spec.process.workingDirectory, field: "process.cwd")
      if path != "/" { add(.makeDirectory(root: .root, path: path, mode: 0o755)) }
    }
  }

  mutating func finishRoot() {
    if spec.root.readonly {
      add(.setAttributes(slot: .root, set: .readOnly, clear: [], propagation: nil, isRecursive: false))
    }
  }
}
