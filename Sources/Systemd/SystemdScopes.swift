package import Kernel

/// Pods' groups below systemd's: a scope for each pod in the slice that the pod's caller names, delegated, so that
/// everything in it is ours. The pod's own group lies in the scope and not at its top, whose settings stay systemd's.
///
///     kubepods.slice/kubepods-pod12.slice/cri-martlet-ID.scope/ID/{shim,CONTAINER…}
package struct SystemdScopes: Sendable {
  private let busPath: String
  private let hierarchy: CgroupHierarchy
  private let timeoutSeconds: Int

  /// Of the bus where nothing else is said.
  package static let busPath = "/run/dbus/system_bus_socket"
  /// From the first byte to systemd to the end of the job.
  package static let timeoutSeconds = 25
  private static let prefix = "cri-martlet-"

  package init(
    hierarchy: CgroupHierarchy, busPath: String = Self.busPath, timeoutSeconds: Int = Self.timeoutSeconds
  ) {
    self.hierarchy = hierarchy
    self.busPath = busPath
    self.timeoutSeconds = timeoutSeconds
  }

  // MARK: Names

  /// Where the group of a pod lies below a slice: "a-b.slice" is in "a.slice". systemd.slice(5).
  package static func path(slice: String, podID: String) throws(SystemdError) -> String {
    "\(try directory(of: slice))/\(scope(podID))/\(podID)"
  }

  private static func scope(_ podID: String) -> String { "\(prefix)\(podID).scope" }

  /// - Returns: the empty text for the root slice, "-.slice".
  package static func directory(of slice: String) throws(SystemdError) -> String {
    guard slice.hasSuffix(".slice"), slice.utf8.count <= 255 else { throw .badSlice(slice) }
    let name = slice.dropLast(".slice".count)
    if name == "-" { return "" }
    let parts = name.split(separator: "-", omittingEmptySubsequences: false)
    let isPlain = name.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
        UInt8(ascii: ":"), UInt8(ascii: "\\"):
        true
      default: false
      }
    }
    guard isPlain, parts.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." }) else { throw .badSlice(slice) }
    return parts.indices.map { "/" + parts[...$0].joined(separator: "-") + ".slice" }.joined()
  }

  // MARK: Scopes

  /// A process that keeps a scope there until the pod has some of its own, for systemd makes none that is empty and takes
  /// away what has become so. It ends with whoever holds this, also when that is killed.
  package final class Placeholder: Sendable {
    fileprivate let child: ChildProcess
    /// Its standard input: at its end it ends.
    private let input: OwnedFD

    fileprivate init() throws(SyscallError) {
      var pipe = try Pipe()
      let end = pipe.takeReadEnd()
      child = try ChildProcess.start("/bin/cat", arguments: ["cat"], stdio: [end.withRaw { $0 }, nil, nil])
      input = pipe.takeWriteEnd()
    }
  }

  /// Makes the scope of a pod's group and moves a process into the group's leaf `shim`.
  /// - Throws: `SystemdError`; nothing of it stays.
  package func make(_ path: String) async throws -> Placeholder {
    try await onFreshThread { () throws(any Error) in try makeBlocking(path) }
  }

  private func makeBlocking(_ path: String) throws -> Placeholder {
    let parts = try Self.parts(path)
    let placeholder = try Placeholder()
    var bus = try SystemdBus.connect(busPath, seconds: timeoutSeconds)
    try bus.run(
      "StartTransientUnit", unit: parts.scope, Self.start(parts, process: UInt32(placeholder.child.processID)))
    do {
      let group = hierarchy.group(try CgroupPath(path))
      guard let scope = group.path.parent.map(hierarchy.group), scope.exists else {
        throw SystemdError.elsewhere(path: group.path.parent?.description ?? path)
      }
      let leaf = try group.child("shim")
      // Without handing controllers down yet: with a process at its top the scope would become a root of threads, and the
      // groups in it good for nothing.
      try group.createBeside()
      try leaf.createBeside()
      try leaf.add(process: placeholder.child.processID)
      return placeholder
    } catch {
      try? placeholder.child.signal(9)
      try? bus.run("StopUnit", unit: parts.scope, Self.stop(parts.scope))
      throw error
    }
  }

  /// Ends the scope of a group that is gone. One that systemd took away already is no error.
  package func remove(_ path: String) async throws {
    try await onFreshThread { () throws(any Error) in
      let parts = try Self.parts(path)
      let scope = try CgroupPath(path).parent.map(hierarchy.group)
      var bus = try SystemdBus.connect(busPath, seconds: timeoutSeconds)
      do {
        try bus.run("StopUnit", unit: parts.scope, Self.stop(parts.scope))
      } catch SystemdError.refused(_, _, Self.noSuchUnit, _) {
        // It goes by itself once it is empty.
      }
      // What systemd no longer knows it no longer removes.
      _ = try scope?.removeIfEmpty()
    }
  }

  private static let noSuchUnit = "org.freedesktop.systemd1.NoSuchUnit"

  // MARK: Messages

  struct Parts: Hashable, Sendable {
    var slice: String
    var scope: String
    var podID: String
  }

  static func parts(_ path: String) throws -> Parts {
    let components = try CgroupPath(path).components
    guard components.count >= 2, components[components.count - 2] == scope(components[components.count - 1]) else {
      throw SystemdError.badSlice(path)
    }
    let slice = components.count > 2 ? components[components.count - 3] : "-.slice"
    return Parts(slice: slice, scope: components[components.count - 2], podID: components[components.count - 1])
  }

  /// Arguments of StartTransientUnit. org.freedesktop.systemd1(5), systemd.resource-control(5).
  static func start(_ parts: Parts, process: UInt32) -> [DBusValue] {
    let properties: [(String, DBusValue)] = [
      ("Description", .string("Martlet pod \(parts.podID)")),
      ("Slice", .string(parts.slice)),
      // Pods end after their kubelet says so, not with everything else at a shutdown's begin.
      ("DefaultDependencies", .bool(false)),
      ("Delegate", .bool(true)),
      ("CPUAccounting", .bool(true)), ("MemoryAccounting", .bool(true)), ("IOAccounting", .bool(true)),
      ("TasksAccounting", .bool(true)),
      // Otherwise a share of what the machine may have, which nobody asked for.
      ("TasksMax", .uint64(.max)),
      // Also forgotten where its last process was killed.
      ("CollectMode", .string("inactive-or-failed")),
      ("PIDs", .array(of: "u", [.uint32(process)])),
    ]
    return [
      .string(parts.scope), .string("fail"),
      .array(of: "(sv)", properties.map { .structure([.string($0.0), .variant($0.1)]) }),
      .array(of: "(sa(sv))", []),
    ]
  }

  static func stop(_ scope: String) -> [DBusValue] { [.string(scope), .string("replace")] }
}
