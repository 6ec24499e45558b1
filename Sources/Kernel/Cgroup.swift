internal import Glibc

/// What can go wrong with a control group beside a failing call.
package enum CgroupError: Error, Hashable, Sendable, CustomStringConvertible {
  case call(SyscallError)
  case noHierarchy
  case missingController(name: String, limit: String, available: [String])
  case badPath(String)
  case badValue(file: String, value: String, reason: String)
  case notEmpty(path: String, milliseconds: Int)

  package var description: String {
    switch self {
    case .call(let error): error.description
    case .noHierarchy: "no cgroup2 file system is mounted; mount one, or boot with systemd.unified_cgroup_hierarchy=1"
    case .missingController(let name, let limit, let available):
      "\(limit) needs the cgroup v2 controller \(name), which this node lacks (it has \(Self.list(available))); "
        + "drop the limit, or set missing-controllers = \"warn\" to run without it"
    case .badPath(let path): "cgroup path \(path): needs plain components, without . or .."
    case .badValue(let file, let value, let reason): "\(file) = \(value): \(reason)"
    case .notEmpty(let path, let milliseconds):
      "cgroup \(path) still has processes \(milliseconds) ms after they were killed"
    }
  }

  private static func list(_ names: [String]) -> String { names.isEmpty ? "none" : names.joined(separator: ", ") }
}

/// The cgroup v2 hierarchy of this machine, wherever it is mounted.
package struct CgroupHierarchy: Hashable, Sendable {
  /// As /sys/fs/cgroup, or /sys/fs/cgroup/unified on a hybrid machine.
  package let mountPoint: String
  /// Controllers that the root of the mount offers.
  package let controllers: [String]

  /// Those that Martlet hands down to pods and containers.
  package static let delegated = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"]

  /// Finds the mount in /proc/self/mountinfo.
  package static func discover() throws(CgroupError) -> CgroupHierarchy {
    do throws(SyscallError) {
      if let mountPoint = try MountInfo.current().first(where: { $0.fileSystem == "cgroup2" })?.mountPoint {
        let text = try Files.readText("\(mountPoint)/cgroup.controllers") ?? ""
        let names = text.split { $0 == " " || $0 == "\n" }.map(String.init)
        return CgroupHierarchy(mountPoint: mountPoint, controllers: names)
      }
    } catch {
      throw .call(error)
    }
    throw .noHierarchy
  }

  package init(mountPoint: String, controllers: [String]) {
    self.mountPoint = mountPoint
    self.controllers = controllers
  }

  /// The group of that path below the mount.
  package func group(_ path: CgroupPath) -> Cgroup { Cgroup(hierarchy: self, path: path) }
}

/// A place below the root of the hierarchy, made of checked components: no caller can name a group outside.
package struct CgroupPath: Hashable, Sendable, CustomStringConvertible {
  package let components: [String]

  /// - Parameter text: with or without a leading slash; "" and "/" are the root.
  /// - Throws: `badPath` for `.`, `..`, empty or over-long components and control characters.
  package init(_ text: String) throws(CgroupError) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: true).map(String.init)
    for part in parts {
      let isPlain = part != "." && part != ".." && part.utf8.count <= 255
      guard isPlain, part.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f }) else { throw .badPath(text) }
    }
    components = parts
  }

  private init(components: [String]) { self.components = components }

  package func appending(_ component: String) throws(CgroupError) -> CgroupPath {
    let tail = try CgroupPath(component)
    guard tail.components.count == 1 else { throw .badPath(component) }
    return CgroupPath(components: components + tail.components)
  }

  package var parent: CgroupPath? {
    components.isEmpty ? nil : CgroupPath(components: Array(components.dropLast()))
  }

  package var description: String { "/" + components.joined(separator: "/") }
}

/// One control group. A value: it names the group and owns nothing; `create` and `remove` are explicit.
package struct Cgroup: Hashable, Sendable {
  package let hierarchy: CgroupHierarchy
  package let path: CgroupPath

  package var directory: String {
    path.components.isEmpty ? hierarchy.mountPoint : "\(hierarchy.mountPoint)\(path)"
  }

  package func child(_ name: String) throws(CgroupError) -> Cgroup {
    hierarchy.group(try path.appending(name))
  }

  package var exists: Bool { Files.exists(directory) }

  /// Makes the group and those above it, and hands controllers down to it. One that is there is taken as it is.
  /// - Returns: the groups that were not there, topmost first.
  @discardableResult
  package func create() throws(CgroupError) -> [CgroupPath] {
    do throws(SyscallError) {
      return try makeDirectory() ? [path] : []
    } catch {
      if error.errno != ENOENT { throw .call(error) }
    }
    var above: [CgroupPath] = []
    if let parent = path.parent { above = try hierarchy.group(parent).create() }
    do throws(SyscallError) { return try makeDirectory() ? above + [path] : above } catch { throw .call(error) }
  }

  /// Makes the group in one that has handed its controllers down when an earlier group was created in it.
  package func createBeside() throws(CgroupError) {
    do throws(SyscallError) {
      _ = try syscall("mkdir", on: directory) { unsafe mkdir(directory, 0o755) }
    } catch {
      if error.errno == EEXIST { return }
      if error.errno != ENOENT { throw .call(error) }
      try create()
    }
  }

  /// - Returns: whether it was not there.
  private func makeDirectory() throws(SyscallError) -> Bool {
    if let parent = path.parent { hierarchy.group(parent).handDownControllers() }
    do throws(SyscallError) {
      _ = try syscall("mkdir", on: directory) { unsafe mkdir(directory, 0o755) }
      return true
    } catch {
      if error.errno != EEXIST { throw error }
      return false
    }
  }

  /// Removes this group where it has neither groups nor processes.
  /// - Returns: whether it is gone.
  package func removeIfEmpty() throws(SyscallError) -> Bool {
    do throws(SyscallError) {
      _ = try syscall("rmdir", on: directory) { unsafe rmdir(directory) }
      return true
    } catch {
      switch error.errno {
      case ENOENT: return true
      case EBUSY, ENOTEMPTY: return false
      default: throw error
      }
    }
  }

  /// Enables what can be enabled. A controller that cannot (a process lives in this very group) is no error here:
  /// a limit that needs it is, and names it.
  private func handDownControllers() {
    guard !hierarchy.controllers.isEmpty else { return }
    let file = "\(directory)/cgroup.subtree_control"
    guard let enabled = try? Files.readText(file) else { return }
    let have = Set(enabled.split { $0 == " " || $0 == "\n" }.map(String.init))
    for name in CgroupHierarchy.delegated where hierarchy.controllers.contains(name) && !have.contains(name) {
      try? Self.write("+\(name)", to: file)
    }
  }

  /// The controllers that this group has.
  package func controllers() throws(SyscallError) -> [String] {
    guard !hierarchy.controllers.isEmpty else { return [] }
    let text = try Files.readText("\(directory)/cgroup.controllers") ?? ""
    return text.split { $0 == " " || $0 == "\n" }.map(String.init)
  }

  /// A descriptor of the directory, for clone3 with CLONE_INTO_CGROUP.
  package func open() throws(SyscallError) -> OwnedFD {
    try Files.open(directory, flags: O_DIRECTORY | O_RDONLY)
  }

  /// Moves a process with all its threads into this group.
  package func add(process id: Int32) throws(SyscallError) {
    try Self.write("\(id)", to: "\(directory)/cgroup.procs")
  }

  /// Processes in this group, those of groups below left out.
  package func processes() throws(SyscallError) -> [Int32] {
    (try Files.readText("\(directory)/cgroup.procs") ?? "").split(separator: "\n").compactMap { Int32($0) }
  }

  /// SIGKILL to every process here and below, also to those that fork meanwhile. A group that is gone has none.
  package func kill() throws(SyscallError) {
    do throws(SyscallError) {
      try Self.write("1", to: "\(directory)/cgroup.kill")
    } catch {
      if error.errno != ENOENT && error.errno != ENODEV { throw error }
    }
  }

  /// Stops or resumes every process here and below.
  package func freeze(_ frozen: Bool) throws(SyscallError) {
    try Self.write(frozen ? "1" : "0", to: "\(directory)/cgroup.freeze")
  }

  /// Whether any process, also a dying one, is here or below. False for a group that is gone.
  package func isPopulated() throws(SyscallError) -> Bool {
    do throws(SyscallError) {
      return keyed(try Files.readText("\(directory)/cgroup.events") ?? "")["populated"] == 1
    } catch {
      if error.errno == ENODEV { return false }
      throw error
    }
  }

  /// Waits until nothing runs here or below. Blocks: for a thread of its own.
  /// - Returns: false where the time ran out.
  package func waitUntilEmpty(milliseconds: Int) throws(SyscallError) -> Bool {
    let deadline = SystemClock.bootNanoseconds + Int64(milliseconds) * 1_000_000
    let events: OwnedFD
    do throws(SyscallError) {
      events = try Files.open("\(directory)/cgroup.events", flags: O_RDONLY)
    } catch {
      if error.errno == ENOENT { return true }
      throw error
    }
    while try Self.isPopulated(events) {
      let left = (deadline - SystemClock.bootNanoseconds) / 1_000_000
      guard left > 0 else { return false }
      events.withRaw { raw in
        // The kernel raises POLLPRI where the file has changed since this descriptor read it.
        var request = pollfd(fd: raw, events: Int16(POLLPRI), revents: 0)
        _ = unsafe poll(&request, 1, CInt(min(left, 1000)))
      }
    }
    return true
  }

  private static func isPopulated(_ events: borrowing OwnedFD) throws(SyscallError) -> Bool {
    do throws(SyscallError) {
      return keyed(String(decoding: try events.read(upTo: 4096, at: 0), as: UTF8.self))["populated"] == 1
    } catch {
      if error.errno == ENODEV { return false }
      throw error
    }
  }

  /// Removes this group and those below it, if nothing runs in them. One that is gone is no error.
  /// - Throws: EBUSY while a process is left.
  package func remove() throws(SyscallError) {
    do throws(SyscallError) {
      _ = try syscall("rmdir", on: directory) { unsafe rmdir(directory) }
      return
    } catch {
      if error.errno == ENOENT { return }
      if error.errno != EBUSY && error.errno != ENOTEMPTY { throw error }
    }
    do throws(SyscallError) {
      for entry in try Directory(path: directory).list() where entry.kind == .directory {
        try hierarchy.group(pathAppending(entry.name)).remove()
      }
    } catch {
      // Where systemd owns what is above it takes empty groups away as well.
      if error.errno != ENOENT { throw error }
    }
    do throws(SyscallError) {
      _ = try syscall("rmdir", on: directory) { unsafe rmdir(directory) }
    } catch {
      if error.errno != ENOENT { throw error }
    }
  }

  /// Kills what runs here and below, waits for it to be gone, and removes the groups. Blocks: for a thread of its own.
  package func killAndRemove(milliseconds: Int) throws(CgroupError) {
    let emptied: Bool
    do throws(SyscallError) {
      try kill()
      emptied = try waitUntilEmpty(milliseconds: milliseconds)
      if emptied { try remove() }
    } catch {
      throw .call(error)
    }
    if !emptied { throw .notEmpty(path: path.description, milliseconds: milliseconds) }
  }

  private func pathAppending(_ name: String) -> CgroupPath { (try? path.appending(name)) ?? path }

  static func write(_ value: String, to file: String) throws(SyscallError) {
    let descriptor = try Files.open(file, flags: O_WRONLY)
    do throws(SyscallError) {
      try descriptor.writeAll(Array(value.utf8))
    } catch {
      throw SyscallError(call: "write", subject: "\(value) to \(file)", errno: error.errno)
    }
  }
}

/// A cgroup file of `name number` lines.
func keyed(_ text: String) -> [String: UInt64] {
  var values: [String: UInt64] = [:]
  for line in text.split(separator: "\n") {
    let fields = line.split(separator: " ")
    if fields.count == 2, let value = UInt64(fields[1]) { values[String(fields[0])] = value }
  }
  return values
}
