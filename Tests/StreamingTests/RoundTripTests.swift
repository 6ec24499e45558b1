import CRIClient
import Kernel
import Streaming
import Synchronization
import Testing

@Suite struct RoundTripTests {
  @Test(arguments: StreamingProtocol.allCases) func outputErrorsAndExitCodeArrive(_ proto: StreamingProtocol)
    async throws
  {
    try await withServer { server in
      let collected = Collected()
      let url = try server.url(for: request("echo out; echo err >&2; exit 7"))
      let outcome = try await StreamingSession.run(
        url: url, offering: [proto], onOutput: { collected.take($0, $1) }, input: { #expect($0.proto == proto) })
      #expect(outcome == .exited(7))
      #expect(collected.text == "out\n")
      #expect(collected.errorText == "err\n")
    }
  }

  @Test func largeInputComesBackUnchangedAndEndsWithItsHalfClose() async throws {
    try await withServer { server in
      let bytes = (0..<(8 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
      let collected = Collected()
      let outcome = try await StreamingSession.run(
        url: try server.url(for: request("cat")), onOutput: { collected.take($0, $1) },
        input: { session in
          try await session.send(bytes[...])
          try await session.endInput()
        })
      #expect(outcome == .exited(0))
      #expect(collected.output.withLock { $0 == bytes })
    }
  }

  @Test func outputGoesOnAfterInputHasEnded() async throws {
    try await withServer { server in
      let collected = Collected()
      let outcome = try await StreamingSession.run(
        url: try server.url(for: request("cat >/dev/null; sleep 0.3; echo after")),
        onOutput: { collected.take($0, $1) }, input: { try await $0.endInput() })
      #expect(outcome == .exited(0))
      #expect(collected.text == "after\n")
    }
  }

  @Test func slowInputArrivesPieceByPiece() async throws {
    try await withServer { server in
      let collected = Collected()
      let outcome = try await StreamingSession.run(
        url: try server.url(for: request("read a; read b; echo $b $a")), onOutput: { collected.take($0, $1) },
        input: { session in
          for byte in "one\ntwo\n".utf8 {
            try await session.send([byte])
            try await Task.sleep(for: .milliseconds(10))
          }
        })
      #expect(outcome == .exited(0))
      #expect(collected.text == "two one\n")
    }
  }

  @Test func aSlowReaderSlowsTheProcessAndNothingPilesUp() async throws {
    let started = Mutex<TestProcess?>(nil)
    let file = "/dev/shm/mt-stream-\(randomHex(bytes: 4))"
    defer { try? Files.remove(file) }
    try await withServer(onStart: { process in started.withLock { $0 = process } }) { server in
      let first = Atomic<Bool>(true)
      let count = Atomic<Int>(0)
      let script =
        "i=0; while [ $i -lt 64 ]; do head -c 1048576 /dev/zero || exit 1; i=$((i+1)); echo $i > \(file); done"
      let outcome = try await StreamingSession.run(
        url: try server.url(for: request(script)),
        onOutput: { _, bytes in
          count.add(bytes.count, ordering: .relaxed)
          guard first.exchange(false, ordering: .relaxed) else { return }
          try await Task.sleep(for: .milliseconds(1500))
          // The kernel's socket buffers may hold some MiB; ours hold kilobytes.
          let written = Int((try Files.readText(file) ?? "0").split(separator: "\n").first ?? "0") ?? 0
          #expect(written < 24)
        })
      #expect(outcome == .exited(0))
      #expect(count.load(ordering: .relaxed) == 64 << 20)
    }
  }

  @Test func terminalSizesArrive() async throws {
    let started = Mutex<TestProcess?>(nil)
    try await withServer(onStart: { process in started.withLock { $0 = process } }) { server in
      let outcome = try await StreamingSession.run(
        url: try server.url(for: request("read line; exit 0")), onOutput: { _, _ in },
        input: { session in
          try await session.resize(columns: 80, rows: 24)
          try await session.resize(columns: 132, rows: 43)
          try await session.send(Array("go\n".utf8)[...])
        })
      #expect(outcome == .exited(0))
      let sizes = started.withLock { $0?.sizes.withLock { $0 } }
      #expect(sizes == [TerminalSize(columns: 80, rows: 24), TerminalSize(columns: 132, rows: 43)])
    }
  }

  /// Of a terminal nobody sees that our side is closed: ^D says it, twice where a line has begun.
  @Test(arguments: [("", "\u{4}"), ("line\n", "line\n\u{4}"), ("begun", "begun\u{4}\u{4}")])
  func aTerminalIsToldThatItsInputHasEnded(text: String, arrives: String) async throws {
    try await withServer { server in
      let collected = Collected()
      var terminal = request("cat")
      terminal.terminal = true
      let outcome = try await StreamingSession.run(
        url: try server.url(for: terminal), onOutput: { collected.take($0, $1) },
        input: { session in
          if !text.isEmpty { try await session.send(Array(text.utf8)[...]) }
          try await session.endInput()
        })
      #expect(outcome == .exited(0))
      #expect(collected.text == arrives)
    }
  }

  @Test func aProcessThatReadsNoInputStillEnds() async throws {
    try await withServer { server in
      let outcome = try await StreamingSession.run(
        url: try server.url(for: request("exec <&-; sleep 0.2; exit 5")), onOutput: { _, _ in },
        input: { session in
          while !Task.isCancelled { try await session.send([UInt8](repeating: 1, count: 1 << 16)[...]) }
        })
      #expect(outcome == .exited(5))
    }
  }

  @Test func aChildLeftBehindDoesNotHoldTheSession() async throws {
    try await withServer { server in
      let collected = Collected()
      let start = ContinuousClock.now
      let outcome = try await StreamingSession.run(
        url: try server.url(for: request("sleep 20 & echo begun; exit 3")), onOutput: { collected.take($0, $1) })
      #expect(outcome == .exited(3))
      #expect(collected.text == "begun\n")
      #expect(ContinuousClock.now - start < .seconds(10))
    }
  }

  @Test func whatTheHandlerCannotDoIsToldToTheClient() async throws {
    try await withServer { server in
      let outcome = try await StreamingSession.run(url: try server.url(for: request()), onOutput: { _, _ in })
      #expect(outcome == .failed("container 1 is gone"))
    }
  }

  @Test func aClientThatLeavesEndsTheProcess() async throws {
    let started = Mutex<TestProcess?>(nil)
    try await withServer(onStart: { process in started.withLock { $0 = process } }) { server in
      let url = try server.url(for: request("echo up; sleep 60"))
      let session = Task {
        try await StreamingSession.run(url: url, onOutput: { _, _ in throw CancellationError() })
      }
      _ = await session.result
      let deadline = ContinuousClock.now + .seconds(10)
      while ContinuousClock.now < deadline {
        if let process = started.withLock({ $0 }), process.abandoned.load(ordering: .relaxed) { return }
        try await Task.sleep(for: .milliseconds(10))
      }
      Issue.record("the process was not told")
    }
  }

  @Test func stoppingTheServerEndsItsSessions() async throws {
    let started = Mutex<TestProcess?>(nil)
    let session = Mutex<Task<StreamingOutcome, any Error>?>(nil)
    try await withServer(onStart: { process in started.withLock { $0 = process } }) { server in
      let url = try server.url(for: request("sleep 60"))
      session.withLock { $0 = Task { try await StreamingSession.run(url: url, onOutput: { _, _ in }) } }
      while started.withLock({ $0 == nil }) { try await Task.sleep(for: .milliseconds(5)) }
    }
    // The server has returned from run() by now, so its sessions have ended.
    #expect(started.withLock { $0?.abandoned.load(ordering: .relaxed) } == true)
    let result = await session.withLock { $0 }?.result
    #expect(throws: (any Error).self) { try result?.get() }
  }
}
