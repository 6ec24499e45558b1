import ContainerPlan
import Kernel
import OCISpec
import PodRuntime
import TestSupport
import Testing

@Suite(.serialized) struct ShimStreamTests {
  private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

  /// Until `condition` holds; a test that waits longer than this has failed.
  private func eventually(_ condition: () throws -> Bool) async throws {
    for _ in 0..<500 {
      if try condition() { return }
      try await Task.sleep(for: .milliseconds(10))
    }
    Issue.record("it did not come to be in 5 s")
  }

  @Test func linesAreTimedAndLongOnesAreSplitAt16KiB() async throws {
    try await ShimWorld.run { world in
      let script = "printf begin; head -c 40000 /dev/zero | tr '\\0' x; echo; echo second; printf last"
      let (_, lines) = try await world.run("c1", world.specification(script))
      #expect(lines.count == 5)
      #expect(lines[0].hasPrefix("stdout P beginxxx") && lines[0].utf8.count == 9 + 16384)
      #expect(lines[1].hasPrefix("stdout P xxx") && lines[1].utf8.count == 9 + 16384)
      #expect(lines[2].hasPrefix("stdout F xxx") && lines[2].utf8.count == 9 + 40005 - 2 * 16384)
      #expect(lines[3...] == ["stdout F second", "stdout F last"])
      let first = text(try Files.read(world.logPath("c1"))).prefix(30)
      #expect(first.wholeMatch(of: /20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z/) != nil)
    }
  }

  @Test func noLineIsLostWhenTheLogIsReopenedUnderLoad() async throws {
    try await ShimWorld.run { world in
      _ = try await world.start("c1", world.specification("seq 1 300000"))
      let log = world.logPath("c1")
      var parts: [String] = []
      for index in 0..<20 {
        let part = "\(log).\(index)"
        try Files.rename(log, to: part)
        try await world.shim.reopenLog("c1", path: log)
        parts.append(part)
      }
      _ = try await world.exit(of: "c1")
      var numbers: [Substring] = []
      for path in parts + [log] {
        for line in text(try Files.read(path, maxBytes: 64 << 20)).split(separator: "\n") {
          numbers.append(line.split(separator: " ")[3])
        }
      }
      #expect(numbers.count == 300_000)
      #expect(numbers.enumerated().allSatisfy { Int($0.element) == $0.offset + 1 })
    }
  }

  @Test func aTerminalIsOneForProgramAndConsole() async throws {
    try await ShimWorld.run { world in
      var spec = world.specification(
        "tty; stty size; [ -t 0 ] && [ -t 2 ] && echo yes; ls -l /dev/console | head -c 1; echo hi > /dev/console; stat -c %u $(tty)"
      )
      spec.process.terminal = true
      spec.process.consoleRows = 41
      spec.process.consoleColumns = 99
      spec.process.user = RuntimeSpec.User(uid: 1000, gid: 1000)
      let (exit, lines) = try await world.run("c1", spec)
      #expect(exit.status == .exited(0))
      #expect(
        lines == [
          "stdout F /dev/pts/0\r", "stdout F 41 99\r", "stdout F yes\r", "stdout F chi\r", "stdout F 1000\r",
        ])
    }
  }

  @Test func attachFeedsInputAndSeesOutputAlongsideTheLog() async throws {
    try await ShimWorld.run { world in
      var spec = world.specification("while read line; do echo got $line; echo err >&2; done; echo end")
      spec.process.environment.append("X=1")
      _ = try await world.start("c1", spec) {
        $0.hasStdin = true
        $0.stdinOnce = true
      }
      var input = try Pipe()
      var output = try Pipe()
      var errors = try Pipe()
      try await world.shim.attach(
        "c1", stdin: input.takeReadEnd(), stdout: output.takeWriteEnd(), stderr: errors.takeWriteEnd())
      let writer = input.takeWriteEnd()
      try writer.writeAll(Array("one\ntwo\n".utf8))
      try writer.close()
      #expect(text(try output.takeReadEnd().readAll(maxBytes: 1 << 20)) == "got one\ngot two\nend\n")
      #expect(text(try errors.takeReadEnd().readAll(maxBytes: 1 << 20)) == "err\nerr\n")
      #expect(try await world.exit(of: "c1").status == .exited(0))
      #expect(
        try world.lines(of: "c1").filter { $0.contains("stdout") } == [
          "stdout F got one", "stdout F got two", "stdout F end",
        ])
    }
  }

  @Test func aClientThatNeverReadsIsDroppedAndAnotherIsNotHarmed() async throws {
    try await ShimWorld.run { world in
      _ = try await world.start("c1", world.specification("read go; seq 1 60000; echo done")) {
        $0.hasStdin = true
        $0.stdinOnce = true
      }
      var stuck = try Pipe()
      try await world.shim.attach("c1", stdout: stuck.takeWriteEnd(), stallSeconds: 0.5)
      var input = try Pipe()
      try await world.shim.attach("c1", stdin: input.takeReadEnd())
      try input.takeWriteEnd().writeAll(Array("go\n".utf8))
      #expect(try await world.exit(of: "c1").status == .exited(0))
      try await eventually { try world.lines(of: "c1").last == "stdout F done" }
      #expect(try world.lines(of: "c1").count == 60001)
      _ = stuck.takeReadEnd()
    }
  }

  @Test func execRunsInTheContainersNamespacesAndReportsItsEnd() async throws {
    try await ShimWorld.run { world in
      _ = try await world.start("c1", world.specification("touch /tmp/inside; exec sleep 60"))
      var process = world.specification("").process
      process.arguments = ["sh", "-c", "ls /tmp; hostname; ps | wc -l; echo bad >&2; exit 5"]
      let plan = try Plan.exec(process, seccompProgram: nil)
      let result = try await world.shim.execCapturing("c1", plan: plan, timeoutSeconds: 10)
      #expect(result.exit.status == .exited(5))
      let lines = text(result.output).split(separator: "\n")
      #expect(lines.prefix(2) == ["inside", "pod-host"])
      #expect(text(result.errorOutput) == "bad\n")
      process.arguments = ["grep", "-E", "CapInh|CapEff", "/proc/self/status"]
      let capabilities = try await world.shim.execCapturing("c1", plan: try Plan.exec(process, seccompProgram: nil))
      #expect(text(capabilities.output) == "CapInh:\t0000000000000000\nCapEff:\t0000000020000420\n")
      process.arguments = ["missing"]
      do {
        _ = try await world.shim.execCapturing("c1", plan: try Plan.exec(process, seccompProgram: nil))
        Issue.record("it ran")
      } catch {
        #expect("\(error)".hasPrefix("execute missing: ENOENT"))
      }
    }
  }

  @Test func execThatTakesTooLongIsKilledAndOneThatFloodsIsCut() async throws {
    try await ShimWorld.run { world in
      _ = try await world.start("c1", world.specification("exec sleep 60"))
      var process = world.specification("").process
      process.arguments = ["sleep", "30"]
      let slow = try await world.shim.execCapturing(
        "c1", plan: try Plan.exec(process, seccompProgram: nil), timeoutSeconds: 0.2)
      #expect(slow.timedOut && slow.exit.status == .signalled(9))
      process.arguments = ["yes"]
      let flood = try await world.shim.execCapturing(
        "c1", plan: try Plan.exec(process, seccompProgram: nil), maxBytes: 1000, timeoutSeconds: 0.3)
      #expect(flood.wasTruncated && flood.output.count == 1000)
      process.arguments = ["sh", "-c", "yes | head -c 5000; yes 2 | head -c 300 >&2; yes 2 | head -c 5000 >&2"]
      let both = try await world.shim.execCapturing(
        "c1", plan: try Plan.exec(process, seccompProgram: nil), maxBytes: 1000, timeoutSeconds: 10)
      #expect(both.wasTruncated && both.output.count == 500 && both.errorOutput.count == 500)
      #expect(text(both.errorOutput).allSatisfy { $0 == "2" || $0 == "\n" })
      process.arguments = ["sh", "-c", "yes | head -c 600; echo bad >&2"]
      let whole = try await world.shim.execCapturing(
        "c1", plan: try Plan.exec(process, seccompProgram: nil), maxBytes: 1000, timeoutSeconds: 10)
      #expect(!whole.wasTruncated && whole.output.count == 600 && text(whole.errorOutput) == "bad\n")
    }
  }

  @Test func execWithATerminalGetsOneOfItsOwnThatCanBeResized() async throws {
    try await ShimWorld.run { world in
      _ = try await world.start("c1", world.specification("exec sleep 60"))
      var process = world.specification("").process
      process.terminal = true
      process.arguments = ["sh", "-c", "tty; read go; stty size"]
      let exec = try await world.shim.exec("c1", plan: try Plan.exec(process, seccompProgram: nil))
      guard let terminal = exec.takeTerminal() else {
        Issue.record("it has no terminal")
        return
      }
      #expect(text(try terminal.read(upTo: 100)).hasPrefix("/dev/pts/0"))
      try await exec.resize(columns: 123, rows: 45)
      try terminal.writeAll(Array("go\n".utf8))
      #expect(try await exec.wait().status == .exited(0))
      // The echo of what was typed may come by itself.
      var seen = ""
      while !seen.contains("45 123"), let more = try? terminal.read(upTo: 1000), !more.isEmpty { seen += text(more) }
      #expect(seen.contains("45 123"))
    }
  }

  @Test func containersOfAPodShareMemoryHostnameAndPIDsAsAsked() async throws {
    try await ShimWorld.run({ $0.sharesProcessNamespace = true }) { world in
      var context = ShimWorld.context
      context.processNamespace = .pod
      _ = try await world.start(
        "c1", world.specification("echo shared > /dev/shm/note; echo $$; exec sleep 60"), context: context)
      try await eventually { try world.lines(of: "c1").count == 1 }
      let own = try #require(try world.lines(of: "c1").first?.split(separator: " ").last)
      let (_, lines) = try await world.run(
        "c2",
        world.specification(
          "cat /dev/shm/note; hostname; readlink /proc/\(own)/root > /dev/null 2>&1; ls -d /proc/\(own)"),
        context: context)
      #expect(lines == ["stdout F shared", "stdout F pod-host", "stdout F /proc/\(own)"])
      var target = ShimWorld.context
      target.processNamespace = .target(containerID: "c1")
      let (_, seen) = try await world.run("c3", world.specification("ls -d /proc/\(own)"), context: target)
      #expect(seen == ["stdout F /proc/\(own)"])
    }
  }

  @Test func aDaemonThatComesBackFindsEverythingAsItWas() async throws {
    try await ShimWorld.run { world in
      let id = try await world.start("c1", world.specification("exec sleep 60"))
      _ = try await world.run("c2", world.specification("exit 3"))
      _ = try await world.start("c3", world.specification("exit 4"))
      _ = try await world.exit(of: "c3")
      let again = try await Shim.connect(podID: world.shim.podID, directory: "\(world.directory.path)/pod")
      #expect(again.processID == world.shim.processID)
      let containers = try await again.state().sorted { $0.containerID < $1.containerID }
      #expect(containers.map(\.containerID) == ["c1", "c3"])
      #expect(containers[0].processID == id && containers[0].exit == nil)
      #expect(containers[1].exit?.status == .exited(4))
      try await again.signal("c1", 15)
      try await again.kill("c1")
      for await event in again.events {
        if case .exited("c1", let exit) = event {
          #expect(exit.status == .signalled(9))
          break
        }
      }
    }
  }

  @Test func anOverlayRootTakesWritesInItsUpperLayerOnly() async throws {
    try await ShimWorld.run { world in
      let upper = "\(world.directory.path)/upper"
      let work = "\(world.directory.path)/work"
      try Files.makeDirectories(upper, mode: 0o755)
      try Files.makeDirectories(work, mode: 0o755)
      let root = RootFilesystem.overlay(lowerDirectories: [world.root], upperDirectory: upper, workDirectory: work)
      var spec = world.specification("echo new > /etc/new; pwd")
      spec.process.workingDirectory = "/srv/app"
      let (exit, lines) = try await world.run("c1", spec, root: root)
      #expect(exit.status == .exited(0) && lines == ["stdout F /srv/app"])
      #expect(Files.exists("\(upper)/etc/new") && !Files.exists("\(world.root)/etc/new"))
    }
  }

  @Test func sysctlsOfThePodAreSetAndWrongOnesRefused() async throws {
    try await ShimWorld.run({ $0.sysctls = ["kernel.shm_rmid_forced": "1"] }) { world in
      let value = try await world.output("cat /proc/sys/kernel/shm_rmid_forced")
      #expect(value == "1")
    }
    await #expect(throws: ShimError.self) {
      try await ShimWorld.run({ $0.sysctls = ["kernel.core_pattern": "|/bin/evil"] }) { _ in }
    }
  }
}
