import JSON
import Kernel
import TestSupport
import Testing

/// The command line without a daemon.
@Suite struct CLIAloneTests {
  private func martlet(_ words: String..., input: [UInt8] = []) async throws -> CLINode.Answer {
    let outcome = try await ChildProcess.run(
      try BuiltPrograms.path("martlet"), arguments: ["martlet"] + words, environment: CLINode.environment, input: input)
    return CLINode.Answer(
      code: outcome.status.code, output: String(decoding: outcome.output, as: UTF8.self),
      errors: String(decoding: outcome.errorOutput, as: UTF8.self))
  }

  @Test func withoutADaemonItSaysHowToStartOne() async throws {
    let answer = try await martlet("ps", "--run", "/nowhere")
    #expect(answer.code == 4)
    #expect(answer.output.isEmpty)
    #expect(answer.errors.contains("/nowhere/martlet.sock"))
    #expect(answer.errors.contains("start it with: sudo martletd"))
  }

  @Test func aSocketThatNobodyServesIsTheSame() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    try Files.writeAtomically("\(directory.path)/martlet.sock", [])
    let answer = try await martlet("--run", directory.path, "ps")
    #expect(answer.code == 4)
    #expect(answer.errors.contains("sudo martletd"))
  }

  @Test(arguments: [
    ["nonsense"], ["ps", "--nonsense"], ["logs"], ["logs", "--tail", "-1", "x"], ["logs", "--since", "soon", "x"],
    ["ps", "-o", "xml"], ["rm"], ["stop", "--grace", "-1", "x"], ["image", "pull"], ["completions", "tcsh"],
  ])
  func wrongUsageHasItsOwnExitCode(_ words: [String]) async throws {
    let outcome = try await ChildProcess.run(
      try BuiltPrograms.path("martlet"), arguments: ["martlet"] + words, environment: CLINode.environment)
    #expect(outcome.status == .exited(2))
    #expect(outcome.output.isEmpty)
    #expect(!outcome.errorOutput.isEmpty)
  }

  @Test func everyCommandHasHelpWithExamples() async throws {
    let top = try await martlet("--help")
    #expect(top.code == 0)
    #expect(top.output.contains("EXIT CODES"))
    let commands = [
      ["ps"], ["logs"], ["exec"], ["attach"], ["inspect"], ["stop"], ["rm"], ["stats"], ["top"], ["version"],
      ["completions"], ["play"], ["node"], ["pod", "run"], ["pod", "ls"], ["pod", "inspect"], ["pod", "stop"],
      ["pod", "rm"],
      ["image", "pull"], ["image", "import"], ["image", "export"], ["image", "ls"], ["image", "inspect"],
      ["image", "rm"], ["image", "prune"],
    ]
    for command in commands {
      let outcome = try await ChildProcess.run(
        try BuiltPrograms.path("martlet"), arguments: ["martlet"] + command + ["--help"],
        environment: CLINode.environment)
      #expect(outcome.status == .exited(0))
      #expect(String(decoding: outcome.output, as: UTF8.self).contains("EXAMPLES"), "\(command)")
    }
  }

  @Test func completionsAreScriptsOfTheirShell() async throws {
    let bash = try await martlet("completions", "bash")
    #expect(bash.code == 0)
    let checked = try await ChildProcess.run(
      "/bin/bash", arguments: ["bash", "-n"], environment: CLINode.environment, input: Array(bash.output.utf8))
    #expect(checked.status == .exited(0))
    #expect(try await martlet("completions", "zsh").output.hasPrefix("#compdef martlet"))
    #expect(try await martlet("completions", "fish").output.contains("complete -c"))
  }

  @Test func itsOwnVersionNeedsNoDaemon() async throws {
    let answer = try await martlet("version", "--client", "-o", "json")
    #expect(try answer.json()["client"]?.string == "0.1.0")
  }
}

/// The command line and the daemon.
@Suite(.serialized) struct CLITests {
  @Test func imagesComeAreListedAndGo() async throws {
    try await CLINode.with { node in
      try await node.importBusybox()
      let list = try await node("image", "ls")
      #expect(list.output.contains("localhost/busybox:test"))
      let images = try await node("image", "ls", "-o", "json").json()
      #expect(images[0]?["repoTags"]?[0]?.string == "localhost/busybox:test")
      let id = try #require(images[0]?["id"]?.string)
      let bare = id.hasPrefix("sha256:") ? String(id.dropFirst(7)) : id
      let inspected = try await node("image", "inspect", String(bare.prefix(12))).json()
      #expect(inspected["image"]?["id"]?.string == id)
      let archive = "\(node.directory.path)/out.tar"
      #expect(try await node("image", "export", "--to", archive, "localhost/busybox:test").code == 0)
      #expect(Files.exists(archive))
      #expect(try await node("image", "rm", "localhost/busybox:test").code == 0)
      #expect(try await node("image", "rm", "localhost/busybox:test").code == 3)
      let again = try await node("image", "import", archive)
      #expect(again.code == 0, "\(again.errors)")
      #expect(try await node("image", "ls").output.contains("localhost/busybox:test"))
      #expect(try await node("image", "prune", "--all").code == 0)
      #expect(try await node("image", "ls", "-q").output.isEmpty)
    }
  }

  @Test func aPodIsRunShownStoppedAndRemoved() async throws {
    try await CLINode.with { node in
      try await node.importBusybox()
      try await node.runPod("web", "echo hello; echo oops >&2; exec sleep 1000")
      let table = try await node("ps").output
      #expect(table.contains("default/web"))
      #expect(table.contains("  main"))
      #expect(!table.contains("\u{1b}"))
      let pods = try await node("ps", "-o", "json").json()
      #expect(pods[0]?["containers"]?[0]?["state"]?.string == "running")
      let id = try #require(pods[0]?["containers"]?[0]?["id"]?.string)
      let status = try await node("inspect", String(id.prefix(6))).json()
      #expect(status["status"]?["metadata"]?["name"]?.string == "main")
      #expect(try await node("inspect", "web", "-o", "yaml").output.contains("state: SANDBOX_READY"))
      #expect(try await node("inspect", "nothing").code == 3)
      let stats = try await node("stats", "-o", "json").json()
      #expect(stats[0]?["container"]?.string == "default/web/main")

      #expect(try await node("rm", "web").code == 1)
      #expect(try await node("stop", "--grace", "0", "main").code == 0)
      let ended = try await node("ps", "-a", "-o", "json").json()
      #expect(ended[0]?["containers"]?[0]?["exitCode"]?.integer == 137)
      #expect(try await node("stop", "web").code == 0)
      #expect(try await node("rm", "web").code == 0)
      #expect(try await node("ps", "-a", "-q").output.isEmpty)
      #expect(try await node("logs", "web").code == 3)
    }
  }

  @Test func logsAreReadWholeFromTheEndAndAsTheyCome() async throws {
    try await CLINode.with { node in
      try await node.importBusybox()
      try await node.runPod("talk", "for i in $(seq 1 200); do echo line $i; done; echo err >&2; sleep 1; echo last")
      try await node.eventually(["logs", "talk"]) { $0.output.contains("line 200\n") }
      let followed = try await node("logs", "-f", "talk")
      #expect(followed.output == (1...200).map { "line \($0)\n" }.joined() + "last\n")
      #expect(followed.errors == "err\n")
      #expect(try await node("logs", "--tail", "2", "talk").output == "last\n")
      #expect(try await node("logs", "--tail", "0", "talk").output.isEmpty)
      let stamped = try await node("logs", "-t", "--tail", "1", "talk").output
      #expect(stamped.hasPrefix("20") && stamped.hasSuffix(" last\n"))
      #expect(try await node("logs", "--since", "1h", "talk").output.hasPrefix("line 1\n"))
      #expect(try await node("logs", "--since", "2999-01-01T00:00:00Z", "talk").code == 2)
      #expect(try await node("logs", "--since", "2200-01-01T00:00:00Z", "talk").output.isEmpty)
      #expect(try await node("logs", "-c", "other", "talk").code == 3)
    }
  }

  @Test func execPassesStreamsAndExitCode() async throws {
    try await CLINode.with { node in
      try await node.importBusybox()
      try await node.runPod("box", "exec sleep 1000")
      let both = try await node("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
      #expect((both.code, both.output, both.errors) == (7, "out\n", "err\n"))
      // Without -i input is empty, and what comes after the container's name belongs to the command.
      #expect(try await node("exec", "box", "cat", "-", input: Array("dropped".utf8)).output.isEmpty)
      let bytes = (0..<(4 << 20)).map { UInt8(ascii: "a") + UInt8($0 % 23) }
      let echoed = try await node("exec", "-i", "box", "cat", input: bytes)
      #expect(echoed.code == 0)
      #expect(Array(echoed.output.utf8) == bytes)
      let missing = try await node("exec", "box", "--", "/bin/nothing")
      #expect(missing.code != 0)
      #expect(missing.errors.contains("/bin/nothing"))
      #expect(try await node("exec", "nobody", "--", "true").code == 3)
      #expect(try await node("exec", "box").code == 2)
      #expect(try await node("exec", "-it", "box", "sh").code == 2)
    }
  }

  @Test func execWithATerminalSizesItAndPutsOursBack() async throws {
    try await CLINode.with { node in
      try await node.importBusybox()
      try await node.runPod("box", "exec sleep 1000")
      let answer = try await node.python(
        """
        pid, master, slave = start()
        before = termios.tcgetattr(slave)
        os.write(master, b'')
        until(master, b'# ')
        assert termios.tcgetattr(slave) != before, 'no raw mode'
        time.sleep(0.3)
        os.write(master, b'stty size; tty\\r')
        until(master, b'30 100')
        until(master, b'/dev/pts/')
        size(master, 44, 132)
        time.sleep(0.5)
        os.write(master, b'stty size\\r')
        until(master, b'44 132')
        os.write(master, b'sleep 50\\r')
        time.sleep(0.5)
        os.write(master, b'\\x03')
        until(master, b'# ')
        os.write(master, b'exit 9\\r')
        until(master, b'exit 9')
        status = code(pid)
        assert termios.tcgetattr(slave) == before, 'not restored'
        sys.exit(status)
        """, "exec", "-it", "box", "sh")
      #expect(answer.code == 9, "\(answer.errors)")
    }
  }

  @Test(arguments: ["SIGTERM", "SIGHUP", "SIGINT"]) func aSignalPutsTheTerminalBack(_ signal: String) async throws {
    try await CLINode.with { node in
      try await node.importBusybox()
      try await node.runPod("box", "exec sleep 1000")
      let answer = try await node.python(
        """
        pid, master, slave = start()
        before = termios.tcgetattr(slave)
        until(master, b'# ')
        assert termios.tcgetattr(slave) != before, 'no raw mode'
        os.kill(pid, signal.\(signal))
        status = code(pid)
        assert termios.tcgetattr(slave) == before, 'not restored'
        assert status == 128 + signal.\(signal), status
        """, "exec", "-it", "box", "sh")
      #expect(answer.code == 0, "\(answer.errors)")
      // The process that the client left behind has gone with it.
      try await node.eventually(["exec", "box", "--", "ls", "/proc"]) { answer in
        // The pod's reaper, the container's own process, and ls.
        answer.output.split(separator: "\n").filter { Int($0) != nil }.count <= 3
      }
    }
  }

  @Test func attachJoinsTheContainersOwnStreams() async throws {
    try await CLINode.with { node in
      try await node.importBusybox()
      try await node.runPod("echo", "while read line; do echo got $line; done; echo end", stdin: true)
      let answer = try await node("attach", "-i", "echo", input: Array("one\ntwo\n".utf8))
      #expect(answer.output == "got one\ngot two\nend\n")
      #expect(answer.code == 0)
    }
  }

  @Test func topDrawsOnATerminalAndLeavesItAsItWas() async throws {
    try await CLINode.with { node in
      try await node.importBusybox()
      try await node.runPod("box", "exec sleep 1000")
      let answer = try await node.python(
        """
        pid, master, slave = start()
        before = termios.tcgetattr(slave)
        until(master, b'default/box/main')
        os.write(master, b'm')
        until(master, b'default/box/main')
        os.write(master, b'q')
        until(master, b'\\x1b[?1049l')
        status = code(pid)
        assert termios.tcgetattr(slave) == before, 'not restored'
        sys.exit(status)
        """, "top", "--interval", "1")
      #expect(answer.code == 0, "\(answer.errors)")
      #expect(try await node("top").code == 2)
    }
  }
}
