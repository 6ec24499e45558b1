import JSON
import Kernel
import TestSupport

/// A daemon of one test, in a network namespace of its own with nothing but loopback, and the command line to drive it.
final class CLINode: Sendable {
  let directory: TestDirectory
  let leaks: LeakCheck
  private let daemon: ChildProcess
  private let martlet: String

  var run: String { "\(directory.path)/run" }

  struct NotReady: Error, CustomStringConvertible { let description: String }

  /// What a command left, as text.
  struct Answer {
    var code: Int32
    var output: String
    var errors: String

    func json() throws -> JSONValue { try JSONValue.parse(output) }
  }

  private init(_ directory: TestDirectory, _ daemon: consuming ChildProcess, martlet: String) {
    self.directory = directory
    self.daemon = daemon
    self.martlet = martlet
    leaks = LeakCheck(token: directory.token)
  }

  /// Runs `body` against a fresh daemon; afterwards every pod is removed and nothing may be left.
  static func with(_ body: (CLINode) async throws -> Void) async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    for name in ["root", "run", "logs"] { try Files.makeDirectories("\(directory.path)/\(name)") }
    try Files.writeAtomically(
      "\(directory.path)/config.toml",
      Array("version = 1\nmissing-controllers = \"warn\"\ncgroup-parent = \"\(directory.token)\"\n".utf8))
    let martletd = try BuiltPrograms.path("martletd")
    // The daemon's pods get addresses: no packet to them may leave this machine.
    let script =
      "ip link set lo up && exec \(martletd) --root \(directory.path)/root --run \(directory.path)/run "
      + "--config \(directory.path)/config.toml"
    let log = try Files.open(
      "\(directory.path)/martletd.log", flags: OpenFlags.writeOnly | OpenFlags.create, mode: 0o600)
    let output = log.withRaw { $0 }
    let daemon = try ChildProcess.start(
      "/usr/bin/unshare", arguments: ["unshare", "--net", "sh", "-c", script],
      environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=\(directory.path)"], stdio: [nil, output, output])
    let node = CLINode(directory, daemon, martlet: try BuiltPrograms.path("martlet"))
    try await node.waitUntilReady()
    do {
      try await body(node)
    } catch {
      _ = try? await node("rm", "--force", "--grace", "0", "--all")
      await node.stop()
      let text = (try? Files.readText("\(directory.path)/martletd.log")) ?? nil
      throw NotReady(description: "\(error)\nthe daemon said: \(text?.suffix(3000) ?? "nothing")")
    }
    _ = try await node("rm", "--force", "--grace", "0", "--all")
    await node.stop()
    // The parent of all pods' groups is the configuration's; it goes when nothing is below it.
    if let mount = try MountInfo.current().first(where: { $0.fileSystem == "cgroup2" }) {
      _ = try? await ChildProcess.run(
        "/bin/rmdir", arguments: ["rmdir", "\(mount.mountPoint)/\(directory.token)"], environment: environment)
    }
    let left = try node.leaks.remains()
    guard left.isEmpty else { throw NotReady(description: "left over: \(left)") }
  }

  private func waitUntilReady() async throws {
    let deadline = ContinuousClock.now + .seconds(20)
    while ContinuousClock.now < deadline {
      if try await self("version").code == 0 { return }
      try await Task.sleep(for: .milliseconds(50))
    }
    let log = try Files.readText("\(directory.path)/martletd.log") ?? ""
    throw NotReady(description: "martletd did not start: \(log.suffix(3000))")
  }

  private func stop() async {
    try? daemon.signal(15)
    let deadline = ContinuousClock.now + .seconds(10)
    while ContinuousClock.now < deadline {
      if (try? daemon.poll()) != nil { return }
      try? await Task.sleep(for: .milliseconds(20))
    }
    try? daemon.signal(9)
    _ = try? daemon.wait()
  }

  /// The words that run a program in the daemon's network, where its streaming server listens.
  private var inside: [String] { ["nsenter", "--net=/proc/\(daemon.processID)/ns/net"] }

  static let environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]

  /// Runs `martlet --run … words`.
  func callAsFunction(_ words: String..., input: [UInt8] = []) async throws -> Answer {
    let outcome = try await ChildProcess.run(
      "/usr/bin/nsenter", arguments: inside + [martlet, "--run", run] + words, environment: Self.environment,
      input: input, timeoutSeconds: 60)
    return Answer(
      code: outcome.status.code, output: String(decoding: outcome.output, as: UTF8.self),
      errors: String(decoding: outcome.errorOutput, as: UTF8.self))
  }

  /// Runs a Python program that gets the words of a `martlet` command in a list `command`, to put a terminal before it.
  func python(_ program: String, _ words: String...) async throws -> Answer {
    let command = (inside + [martlet, "--run", run] + words).map { JSONValue.string($0).encodedString() }
    let outcome = try await ChildProcess.run(
      "/usr/bin/python3",
      arguments: ["python3", "-c", "command=[\(command.joined(separator: ","))]\n\(Self.terminal)\n\(program)"],
      environment: Self.environment, timeoutSeconds: 60)
    return Answer(
      code: outcome.status.code, output: String(decoding: outcome.output, as: UTF8.self),
      errors: String(decoding: outcome.errorOutput, as: UTF8.self))
  }

  /// `start()` gives a process on a terminal of 30 rows and 100 columns and the terminal's other side; `until(fd, text)`
  /// reads until `text` has come and keeps what follows it for the next time.
  private static let terminal = """
    import os, pty, sys, time, termios, fcntl, struct, signal, select
    def size(fd, rows, columns):
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
    def start():
        master, slave = pty.openpty()
        size(master, 30, 100)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for fd in (0, 1, 2): os.dup2(slave, fd)
            os.execvp(command[0], command)
        return pid, master, slave
    seen = b''
    def until(fd, text, seconds=15):
        global seen
        end = time.time() + seconds
        while text not in seen:
            if not select.select([fd], [], [], max(0, end - time.time()))[0]:
                sys.exit('no %r in %r' % (text, seen))
            seen += os.read(fd, 4096)
        seen = seen[seen.index(text) + len(text):]
    def code(pid): return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    """

  // MARK: An image and a pod

  /// Makes an OCI layout of busybox with one binary per applet, and imports it as `localhost/busybox:test`.
  func importBusybox() async throws {
    let outcome = try await ChildProcess.run(
      "/bin/sh", arguments: ["sh", "-euc", Self.layoutScript, "sh", directory.path],
      environment: Self.environment, timeoutSeconds: 60)
    guard outcome.status == .exited(0) else {
      throw NotReady(description: "layout: \(String(decoding: outcome.errorOutput, as: UTF8.self))")
    }
    let answer = try await self("image", "import", "--reference", "localhost/busybox:test", "\(directory.path)/layout")
    guard answer.code == 0 else { throw NotReady(description: "import: \(answer.errors)") }
  }

  private static let layoutScript = """
    cd "$1"; mkdir -p rootfs/bin rootfs/tmp layout/blobs/sha256
    cp /bin/busybox rootfs/bin/sh
    for applet in cat sleep echo ls tty stty seq head true false env id; do ln rootfs/bin/sh rootfs/bin/$applet; done
    tar --owner=0 --group=0 --numeric-owner -C rootfs -cf layer.tar .
    put() { sum=$(sha256sum "$1" | cut -d ' ' -f 1); bytes=$(stat -c %s "$1"); cp "$1" "layout/blobs/sha256/$sum"; }
    put layer.tar; layer=$sum; size=$bytes
    printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$layer" > config.json
    put config.json
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' "$sum" "$bytes" "$layer" "$size" > manifest.json
    put manifest.json
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s}]}' "$sum" "$bytes" > layout/index.json
    printf '{"imageLayoutVersion":"1.0.0"}' > layout/oci-layout
    rm -r rootfs layer.tar config.json manifest.json
    """

  /// Runs a pod `name` with one container `main` that runs `script`.
  func runPod(_ name: String, _ script: String, tty: Bool = false, stdin: Bool = false) async throws {
    let logs = "\(directory.path)/logs/\(name)"
    try Files.makeDirectories(logs)
    let pod: JSONValue = [
      "metadata": ["name": .string(name), "namespace": "default", "uid": .string("\(name)-uid"), "attempt": 0],
      "hostname": .string(name), "log_directory": .string(logs), "labels": ["app": .string(name)],
    ]
    let container: JSONValue = [
      "metadata": ["name": "main", "attempt": 0], "image": ["image": "localhost/busybox:test"],
      "command": ["/bin/sh", "-c", .string(script)], "log_path": "main.log", "tty": .bool(tty), "stdin": .bool(stdin),
      "stdin_once": .bool(stdin),
    ]
    let (podFile, containerFile) = ("\(directory.path)/\(name)-pod.json", "\(directory.path)/\(name)-main.json")
    try Files.writeAtomically(podFile, pod.encoded())
    try Files.writeAtomically(containerFile, container.encoded())
    let answer = try await self("pod", "run", podFile, containerFile)
    guard answer.code == 0 else { throw NotReady(description: "pod run: \(answer.errors)") }
  }

  /// Waits until `condition` holds for an answer to the command.
  func eventually(_ words: [String], _ condition: (Answer) throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(15)
    var last: Answer?
    while ContinuousClock.now < deadline {
      let outcome = try await ChildProcess.run(
        "/usr/bin/nsenter", arguments: inside + [martlet, "--run", run] + words, environment: Self.environment)
      let answer = Answer(
        code: outcome.status.code, output: String(decoding: outcome.output, as: UTF8.self),
        errors: String(decoding: outcome.errorOutput, as: UTF8.self))
      if try condition(answer) { return }
      last = answer
      try await Task.sleep(for: .milliseconds(50))
    }
    throw NotReady(description: "martlet \(words) stayed at: \(last.map { "\($0)" } ?? "nothing")")
  }
}
