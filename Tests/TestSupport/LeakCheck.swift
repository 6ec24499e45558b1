internal import Kernel

/// What a test may have left behind on the machine, found by a token that is in all the names it gave.
///
/// Tests run beside each other in one process, so each looks for its own token only.
package struct LeakCheck: Sendable {
  /// In every directory, cgroup, link and namespace name of one test.
  package let token: String

  package init(token: String = "mt-\(randomHex(bytes: 4))") { self.token = token }

  /// What is still there, a line each; empty when everything is gone.
  package func remains() throws -> [String] {
    try mounts() + processes() + cgroups() + links()
  }

  private func mounts() throws -> [String] {
    try MountInfo.current().filter { $0.mountPoint.contains(token) || $0.root.contains(token) }
      .map { "mount \($0.mountPoint)" }
  }

  private func processes() throws -> [String] {
    try Directory(path: "/proc").list().compactMap { entry -> String? in
      guard let id = Int32(entry.name), id != CurrentProcess.id else { return nil }
      // A process may end while we look at it.
      let command = (try? Files.read("/proc/\(id)/cmdline", maxBytes: 1 << 20)) ?? []
      if command.isEmpty { return Self.hangs(id, token) ? "process \(id), which has no memory any more" : nil }
      let text = String(decoding: command.map { $0 == 0 ? 0x20 : $0 }, as: UTF8.self)
      let state = (try? Files.readText("/proc/\(id)/stat")) ?? ""
      let ended = state.split(separator: ")").last?.hasPrefix(" Z") ?? true
      let group = (try? Files.readText("/proc/\(id)/cgroup")) ?? ""
      return (text.contains(token) || group.contains(token)) && !ended ? "process \(id): \(text)" : nil
    }
  }

  /// Without memory it runs nothing any more: it is ending, and for a moment not yet a zombie. One that does not get there
  /// hangs in the kernel.
  private static func hangs(_ id: Int32, _ token: String) -> Bool {
    guard let group = try? Files.readText("/proc/\(id)/cgroup"), group.contains(token) else { return false }
    for _ in 0..<looksMax {
      guard let state = try? Files.readText("/proc/\(id)/stat"), let rest = state.split(separator: ")").last,
        !rest.hasPrefix(" Z"), !rest.hasPrefix(" X")
      else { return false }
    }
    return true
  }

  /// At a process that ends: some hundred milliseconds.
  private static let looksMax = 20_000

  private func cgroups() throws -> [String] {
    guard let mount = try MountInfo.current().first(where: { $0.fileSystem == "cgroup2" }) else { return [] }
    var found: [String] = []
    var open = [mount.mountPoint]
    while let path = open.popLast() {
      guard let directory = try? Directory(path: path) else { continue }
      for entry in (try? directory.list()) ?? [] where entry.kind == .directory {
        let inner = "\(path)/\(entry.name)"
        if entry.name.contains(token) { found.append("cgroup \(inner)") } else { open.append(inner) }
      }
    }
    return found
  }

  private func links() throws -> [String] {
    try (Files.readText("/proc/net/dev") ?? "").split(separator: "\n").dropFirst(2).compactMap { line in
      let name = line.split(separator: ":")[0].drop { $0 == " " }
      return name.contains(token) ? "link \(name)" : nil
    }
  }
}

/// A directory of one test, on tmpfs where the machine has one, gone when `remove` is called.
package struct TestDirectory: Sendable {
  package let path: String
  package let token: String

  package init(token: String = "mt-\(randomHex(bytes: 4))") throws {
    self.token = token
    path = "\(Files.exists("/dev/shm") ? "/dev/shm" : "/tmp")/\(token)"
    try Files.makeDirectories(path)
  }

  package func remove() throws { try Files.removeTree(path) }
}
