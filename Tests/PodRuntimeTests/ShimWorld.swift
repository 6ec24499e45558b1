import ContainerPlan
import Kernel
import OCISpec
import PodRuntime
import TestSupport

/// A pod's shim for one test, with a root made of Debian's static busybox, and everything gone at its end.
struct ShimWorld: Sendable {
  let directory: TestDirectory
  let shim: Shim
  let root: String
  let cgroup: Cgroup

  static let applets = [
    "sh", "true", "false", "cat", "echo", "sleep", "id", "ls", "mount", "grep", "stat", "touch", "tty", "stty", "head",
    "tr", "wc", "kill", "readlink", "hostname", "mknod", "ps", "dd", "seq", "env", "pwd", "printf", "yes", "chroot",
    "unshare", "od", "mkdir", "find", "umount", "ipcs", "sysctl", "xxd", "awk", "sed", "date", "usleep", "test",
  ]

  /// Makes a root directory that has busybox under each applet's name.
  static func makeRoot(_ path: String) throws {
    for name in ["bin", "etc", "tmp", "root", "dev", "proc", "sys", "var", "home"] {
      try Files.makeDirectories("\(path)/\(name)", mode: 0o755)
    }
    try Files.chmod("\(path)/tmp", mode: 0o1777)
    let busybox = try Files.read("/bin/busybox", maxBytes: 16 << 20)
    try Files.writeAtomically("\(path)/bin/busybox", busybox, mode: 0o755)
    for applet in applets { try Files.symlink("busybox", at: "\(path)/bin/\(applet)") }
    try Files.writeAtomically(
      "\(path)/etc/passwd", Array("root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/home:/bin/sh\n".utf8), mode: 0o644)
  }

  /// Runs `body` with a new pod and checks that nothing of it is left.
  static func run(
    _ change: (inout ShimConfiguration) -> Void = { _ in }, body: (ShimWorld) async throws -> Void
  ) async throws {
    let directory = try TestDirectory()
    let cgroup = try CgroupHierarchy.discover().group(try CgroupPath(directory.token))
    do {
      try cgroup.create()
      try cgroup.child("shim").create()
      try Files.makeDirectories("\(directory.path)/pod/containers")
      try makeRoot("\(directory.path)/root")
      let program = try await ShimProgram(path: try BuiltPrograms.path("martlet-shim"))
      var configuration = ShimConfiguration(
        podID: String(repeating: "a", count: 64), directory: "\(directory.path)/pod")
      configuration.hostname = "pod-host"
      configuration.cgroupDirectory = try cgroup.child("shim").directory
      change(&configuration)
      let shim = try await Shim.launch(configuration, program: program)
      let world = ShimWorld(directory: directory, shim: shim, root: "\(directory.path)/root", cgroup: cgroup)
      do {
        try await body(world)
      } catch {
        try? await shim.shutdown()
        throw error
      }
      try await shim.shutdown()
    } catch {
      try? cgroup.killAndRemove(milliseconds: 5000)
      try? directory.remove()
      throw error
    }
    // The shim's last breath follows its answer.
    try cgroup.killAndRemove(milliseconds: 5000)
    try directory.remove()
    let remains = try LeakCheck(token: directory.token).remains()
    guard remains.isEmpty else { throw Leak(remains: remains) }
  }

  struct Leak: Error { let remains: [String] }

  /// A specification as `runc spec` writes it, that runs a shell script.
  func specification(_ script: String) -> RuntimeSpec {
    var spec = RuntimeSpec()
    spec.mounts = Self.standardMounts
    spec.process.arguments = ["/bin/sh", "-c", script]
    spec.process.environment = ["PATH=/bin", "HOME=/root"]
    spec.process.capabilities = RuntimeSpec.CapabilitySets(all: Self.capabilities)
    spec.process.noNewPrivileges = true
    spec.linux.maskedPaths = ["/proc/kcore", "/proc/timer_list", "/proc/acpi", "/sys/firmware"]
    spec.linux.readonlyPaths = ["/proc/bus", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
    return spec
  }

  static let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]

  static let standardMounts = [
    RuntimeSpec.Mount(destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"]),
    RuntimeSpec.Mount(
      destination: "/dev", type: "tmpfs", source: "tmpfs",
      options: ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    RuntimeSpec.Mount(
      destination: "/dev/pts", type: "devpts", source: "devpts",
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    RuntimeSpec.Mount(
      destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"]),
    RuntimeSpec.Mount(
      destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"]),
    RuntimeSpec.Mount(
      destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup",
      options: ["nosuid", "noexec", "nodev", "relatime", "ro"]),
  ]

  static var context: SandboxContext {
    var context = SandboxContext()
    context.sharedMemory = .pod
    return context
  }

  func start(
    _ id: String, _ spec: RuntimeSpec, context: SandboxContext = ShimWorld.context, root: RootFilesystem? = nil,
    _ change: (inout ContainerStart) -> Void = { _ in }
  ) async throws -> Int32 {
    let plan = try Plan.container(spec, root: root ?? .directory(self.root), context: context)
    var start = ContainerStart(containerID: id, plan: plan)
    let group = try cgroup.child(id)
    try group.create()
    start.cgroupDirectory = group.directory
    start.logPath = logPath(id)
    try Files.makeDirectories("\(directory.path)/pod/containers/\(id)")
    change(&start)
    return try await shim.start(start)
  }

  func logPath(_ id: String) -> String { "\(directory.path)/\(id).log" }

  /// Waits for a container's exit among the shim's events.
  func exit(of id: String) async throws -> ProcessExit {
    for await event in shim.events {
      if case .exited(let found, let exit) = event, found == id { return exit }
    }
    throw ShimError.disconnected(request: "exit of \(id)")
  }

  /// Runs a container to its end: how it ended, and its log's lines without timestamps.
  func run(
    _ id: String, _ spec: RuntimeSpec, context: SandboxContext = ShimWorld.context, root: RootFilesystem? = nil
  ) async throws -> (exit: ProcessExit, lines: [String]) {
    _ = try await start(id, spec, context: context, root: root)
    let exit = try await exit(of: id)
    try await shim.forget(id)
    return (exit, try lines(of: id))
  }

  func lines(of id: String) throws -> [String] {
    // By bytes: a carriage return and a newline are one Character.
    try Files.read(logPath(id), maxBytes: 64 << 20).split(separator: 0x0A).map { line in
      String(decoding: line.drop { $0 != 0x20 }.dropFirst(), as: UTF8.self)
    }
  }

  /// What it printed on standard output.
  func output(_ script: String, _ change: (inout RuntimeSpec) -> Void = { _ in }) async throws -> String {
    var spec = specification(script)
    change(&spec)
    let (exit, lines) = try await run("c\(randomHex(bytes: 4))", spec)
    let text = lines.map { $0.hasPrefix("stdout F ") ? String($0.dropFirst(9)) : $0 }.joined(separator: "\n")
    return exit.status == .exited(0) ? text : "\(exit.status): \(text)"
  }
}
