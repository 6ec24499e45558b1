import HTTPServer
import Kernel
import PKI
import Synchronization
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct RequestsAndAnswers {
  @Test func anAnswerSaysWhatWasAsked() async throws {
    try await withServer { port in
      let answer = try await RawClient.exchange(
        port: port, "GET /a%20b/c?x=1&x=%26&y=a+b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
      #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
      #expect(answer.contains("X-Path: /a b/c\r\n"))
      #expect(answer.contains("X-Query: x=1|x=&|y=a b\r\n"))
      #expect(answer.contains("X-Peer: anonymous\r\n"))
      #expect(answer.contains("Connection: close\r\n"))
    }
  }

  @Test func curlGetsAndPostsOverOneConnection() async throws {
    try await withServer { port in
      let url = "http://127.0.0.1:\(port)/x"
      let done = try await command(
        "curl", "--silent", "--show-error", "--max-time", "10", "--write-out", "%{num_connects}\n", "--data", "hello",
        url, "--next", "--silent", "--write-out", "%{num_connects}\n", url)
      #expect(done.output == "hello1\n0\n", "\(done)")
    }
  }

  @Test(arguments: [10_000, 1_000_000, 3 << 20]) func aBodyComesWhole(_ size: Int) async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
    try Files.writeAtomically("\(directory.path)/in", bytes)
    try await withServer { port in
      // curl waits for 100 Continue with bodies of more than a megabyte.
      let done = try await command(
        "curl", "--silent", "--show-error", "--max-time", "20", "--data-binary", "@\(directory.path)/in", "--output",
        "\(directory.path)/out", "http://127.0.0.1:\(port)/", "--write-out", "%{http_code} %{time_total}")
      #expect(done.output.hasPrefix("200 "), "\(done)")
      #expect(try Files.read("\(directory.path)/out") == bytes)
    }
  }

  @Test func aChunkedBodyComesWhole() async throws {
    try await withServer { port in
      let answer = try await RawClient.exchange(
        port: port,
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
      )
      #expect(answer.hasSuffix("\r\n\r\nabcdefg"))
    }
  }

  @Test(arguments: ["Content-Length: 4000000\r\n", "Transfer-Encoding: chunked\r\n"])
  func aBodyBeyondTheCapIs413(_ framing: String) async throws {
    try await withServer { port in
      let answer = try await onFreshThread { () throws(SyscallError) -> String in
        do {
          let client = try RawClient(port: port)
          try client.send("POST / HTTP/1.1\r\nHost: h\r\n\(framing)\r\n")
          let chunk = framing.hasPrefix("T") ? "40000\r\n" + String(repeating: "x", count: 0x40000) + "\r\n" : ""
          for _ in 0..<14 where !chunk.isEmpty { try? client.send(chunk) }
          return client.readToEnd()
        } catch { throw SyscallError(call: "test", subject: "\(error)", errno: 0) }
      }
      #expect(answer.hasPrefix("HTTP/1.1 413 "), "\(answer.prefix(200))")
      #expect(answer.contains("Connection: close\r\n"))
    }
  }

  @Test func pipelinedRequestsAreAnsweredInOrder() async throws {
    // The first takes longest.
    try await withServer(handler: { request in
      try? await Task.sleep(for: .milliseconds(request.path == "/1" ? 100 : 1))
      return .text(request.path)
    }) { port in
      let get = { (path: String, last: Bool) in
        "GET \(path) HTTP/1.1\r\nHost: h\r\n\(last ? "Connection: close\r\n" : "")\r\n"
      }
      let answer = try await RawClient.exchange(port: port, get("/1", false) + get("/2", false) + get("/3", true))
      let bodies = answer.split(separator: "\r\n\r\n").dropFirst().map { $0.prefix(2) }
      #expect(bodies == ["/1", "/2", "/3"])
    }
  }

  @Test func headHasTheLengthAndNoBody() async throws {
    try await withServer(handler: { _ in .text("hello") }) { port in
      let answer = try await RawClient.exchange(port: port, "HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
      #expect(answer.lowercased().contains("content-length: 5\r\n"))
      #expect(answer.hasSuffix("\r\n\r\n"))
    }
  }

  @Test func aClientOfHTTP10GetsItsAnswerAndTheEnd() async throws {
    try await withServer(handler: { _ in
      HTTPResponse(
        body: .stream { writer in
          try await writer.write(Array("a".utf8))
          try await writer.write(Array("b".utf8))
        })
    }) { port in
      let answer = try await RawClient.exchange(port: port, "GET / HTTP/1.0\r\n\r\n")
      #expect(answer.hasSuffix("\r\n\r\nab"), "\(answer)")
    }
  }

  @Test func aClientThatClosesItsHalfStillGetsItsAnswer() async throws {
    try await withServer(handler: { request in
      try? await Task.sleep(for: .milliseconds(50))
      return await echo(request)
    }) { port in
      let answer = try await RawClient.exchange(
        port: port, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", closesWriting: true)
      #expect(answer.hasSuffix("hi"), "\(answer)")
    }
  }

  @Test func longAnswersAreCompressedForThoseWhoAsk() async throws {
    let text = String(repeating: "all the same ", count: 20_000)
    try await withServer(handler: { _ in .text(text) }) { port in
      let url = "http://127.0.0.1:\(port)/"
      let packed = try await command(
        "curl", "--silent", "--compressed", "--dump-header", "-", "--output", "/dev/null",
        "--write-out", "%{size_download}", url)
      #expect(packed.output.lowercased().contains("content-encoding: gzip"), "\(packed)")
      let size = packed.output.split(whereSeparator: \.isNewline).last.flatMap { Int($0) } ?? .max
      #expect(size < 20_000)
      let same = try await command("curl", "--silent", "--compressed", url)
      #expect(same.output == text)
      let plain = try await command("curl", "--silent", url)
      #expect(plain.output == text)
    }
  }
}

@Suite(.timeLimit(.minutes(2))) struct MalformedRequests {
  @Test(arguments: [
    "both lengths": "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "twice the same length": "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc",
    "a signed length": "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc",
    "a negative length": "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
    "a huge length": "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "an odd coding": "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "two codings":
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding in HTTP/1.0": "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
    "a folded line": "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
    "no host": "GET / HTTP/1.1\r\n\r\n",
    "two hosts": "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no version": "GET /\r\n\r\n",
    "another protocol": "SSH-2.0-OpenSSH_9.2\r\n",
    "TLS in plain text": "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}",
    "a broken escape": "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n",
    "a NUL": "GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n",
    "no text": "GET /%ff%fe HTTP/1.1\r\nHost: h\r\n\r\n",
    "a relative target": "GET a HTTP/1.1\r\nHost: h\r\n\r\n",
    "a bad chunk": "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
  ])
  func isRefusedAndTheConnectionEnds(_ name: String, _ bytes: String) async throws {
    try await withServer { port in
      let answer = try await RawClient.exchange(port: port, bytes)
      #expect(answer.hasPrefix("HTTP/1.1 400 ") || answer.hasPrefix("HTTP/1.0 400 "), "\(name): \(answer.prefix(300))")
      #expect(!answer.contains(" 200 "), "\(name)")
      // And nothing of the bytes after it was taken for a second request.
      #expect(answer.split(separator: "HTTP/1.1 ").count == 1, "\(name): \(answer)")
    }
  }

  @Test func aHeadThatIsTooLongIsRefused() async throws {
    try await withServer { port in
      let long = String(repeating: "x", count: 100_000)
      let answer = try await RawClient.exchange(port: port, "GET / HTTP/1.1\r\nHost: h\r\nX-Long: \(long)\r\n\r\n")
      #expect(answer.hasPrefix("HTTP/1.1 4"), "\(answer.prefix(200))")
      let many = (0..<500).map { "X-\($0): y\r\n" }.joined()
      let second = try await RawClient.exchange(port: port, "GET / HTTP/1.1\r\nHost: h\r\n\(many)\r\n")
      #expect(second.hasPrefix("HTTP/1.1 4"), "\(second.prefix(200))")
    }
  }
}

@Suite(.timeLimit(.minutes(2))) struct Clients {
  @Test func whoSendsAHeadTooSlowlyIsClosed() async throws {
    var limits = HTTPServerLimits()
    limits.headTimeoutSeconds = 1
    try await withServer(limits: limits) { port in
      let began = ContinuousClock.now
      let answer = try await RawClient.exchange(port: port, "GET / HTTP/1.1\r\nHost: ")
      #expect(answer.isEmpty)
      #expect(ContinuousClock.now - began < .seconds(5))
    }
  }

  @Test func whoStopsInABodyIsClosed() async throws {
    var limits = HTTPServerLimits()
    limits.stallTimeoutSeconds = 1
    try await withServer(limits: limits) { port in
      let began = ContinuousClock.now
      _ = try await RawClient.exchange(port: port, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
      #expect(ContinuousClock.now - began < .seconds(6))
    }
  }

  @Test func whoDoesNotReadHoldsUpItselfOnly() async throws {
    var limits = HTTPServerLimits()
    limits.stallTimeoutSeconds = 1
    let written = Counter()
    try await withServer(
      limits: limits,
      handler: { request in
        guard request.path == "/endless" else { return .text("ok") }
        return HTTPResponse(
          body: .stream { writer in
            let chunk = [UInt8](repeating: 120, count: 1 << 16)
            while true {
              try await writer.write(chunk)
              written.add(chunk.count)
            }
          })
      }
    ) { port in
      let stuck = try RawClient(port: port)
      try stuck.send("GET /endless HTTP/1.1\r\nHost: h\r\n\r\n")
      let other = try await RawClient.exchange(port: port, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
      #expect(other.hasSuffix("ok"))
      try await Task.sleep(for: .seconds(3))
      let amount = written.value
      // What the kernel buffers, and not a stream without end.
      #expect(amount < 64 << 20)
      try await Task.sleep(for: .milliseconds(200))
      #expect(written.value == amount, "the stream has ended, for its reader stood still")
    }
  }

  @Test func whoLeavesEndsWhatWasDoneForThem() async throws {
    let (cancelled, started) = (Counter(), Counter())
    try await withServer(handler: { _ in
      HTTPResponse(
        body: .stream { writer in
          started.add()
          try await writer.write(Array("event\n".utf8))
          defer { if Task.isCancelled { cancelled.add() } }
          try await Task.sleep(for: .seconds(60))
        })
    }) { port in
      try await onFreshThread { () throws(SyscallError) in
        do {
          let client = try RawClient(port: port)
          try client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
          #expect(client.read(until: "event\n").contains("event\n"))
        } catch { throw SyscallError(call: "test", subject: "\(error)", errno: 0) }
      }
      try await eventually("the stream's task is cancelled") { cancelled.value == 1 }
      #expect(started.value == 1)
    }
  }

  @Test func whoSendsNoMoreIsAnsweredAndWhatWorksForThemIsCancelled() async throws {
    let cancelled = Counter()
    try await withServer(handler: { _ in
      do { try await Task.sleep(for: .seconds(60)) } catch { cancelled.add() }
      return .text("late")
    }) { port in
      let answer = try await RawClient.exchange(port: port, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", closesWriting: true)
      #expect(answer.hasSuffix("late"))
      #expect(cancelled.value == 1)
    }
  }

  @Test func aBodyThatTricklesHasAnEnd() async throws {
    var limits = HTTPServerLimits()
    limits.stallTimeoutSeconds = 1
    limits.bodySecondsMax = 2
    try await withServer(limits: limits) { port in
      let began = ContinuousClock.now
      let client = try RawClient(port: port)
      try client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\n")
      for _ in 0..<40 {
        try await Task.sleep(for: .milliseconds(200))
        // Fails once the server has closed.
        do { try client.send("a") } catch { break }
      }
      #expect(ContinuousClock.now - began < .seconds(6))
    }
  }

  @Test func aThousandBrokenConnectionsLeaveNothing() async throws {
    let active = Counter()
    try await withServer(handler: { request in
      active.add()
      defer { active.add(-1) }
      if request.path == "/slow" { try? await Task.sleep(for: .seconds(2)) }
      return await echo(request)
    }) { port in
      let before = try Directory(path: "/proc/self/fd").list().count
      let shapes = [
        "", "GET ", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf", "garbage\r\n\r\n",
      ]
      try await onFreshThread { () throws(SyscallError) in
        do {
          for index in 0..<1000 {
            let client = try RawClient(port: port)
            try client.send(shapes[index % shapes.count])
            if index % 2 == 0 { client.reset() }
          }
        } catch { throw SyscallError(call: "test", subject: "\(error)", errno: 0) }
      }
      try await eventually("every handler has ended") { active.value == 0 }
      // Other tests run beside this one, so a few more are nobody's leak.
      try await eventually("every descriptor is closed", within: 20) {
        ((try? Directory(path: "/proc/self/fd").list().count) ?? .max) <= before + 100
      }
      let answer = try await RawClient.exchange(port: port, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
      #expect(answer.hasPrefix("HTTP/1.1 200"))
    }
  }

  @Test func tooManyConnectionsAreClosedAtOnce() async throws {
    var limits = HTTPServerLimits()
    limits.connectionsMax = 2
    try await withServer(limits: limits) { port in
      try await onFreshThread { () throws(SyscallError) in
        do {
          let first = try RawClient(port: port)
          let second = try RawClient(port: port)
          try first.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
          #expect(first.read(until: "\r\n\r\n").contains("200"))
          try second.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
          #expect(second.read(until: "\r\n\r\n").contains("200"))
          let third = try RawClient(port: port)
          #expect(third.readToEnd().isEmpty)
        } catch { throw SyscallError(call: "test", subject: "\(error)", errno: 0) }
      }
    }
  }
}

@Suite(.timeLimit(.minutes(2))) struct Ending {
  @Test func stoppingEndsStreamsAndLetsAnswersFinish() async throws {
    let underWay = Counter()
    let server = try await HTTPServer.bind([.tcp(host: "127.0.0.1", port: 0, tls: nil)], logger: quiet) { request in
      underWay.add()
      if request.path == "/short" {
        try? await Task.sleep(for: .milliseconds(300))
        return .text("done")
      }
      return HTTPResponse(
        body: .stream { writer in
          try await writer.write(Array("first\n".utf8))
          do { try await Task.sleep(for: .seconds(60)) } catch { return }
        })
    }
    let port = server.ports[0]
    let running = Task { try await server.run() }
    async let short = RawClient.exchange(port: port, "GET /short HTTP/1.1\r\nHost: h\r\n\r\n")
    async let stream = RawClient.exchange(port: port, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
    let idle = try RawClient(port: port)
    try await eventually("both are under way") { underWay.value == 2 }
    let began = ContinuousClock.now
    running.cancel()
    #expect(try await short.hasSuffix("done"))
    // The stream's end is a proper one: nothing is cut off.
    #expect(try await stream.hasSuffix("first\n\r\n0\r\n\r\n"))
    #expect(idle.readToEnd().isEmpty)
    await #expect(throws: CancellationError.self) { try await running.value }
    #expect(ContinuousClock.now - began < .seconds(4))
    #expect(throws: (any Error).self) { _ = try RawClient(port: port) }
  }
}

@Suite(.timeLimit(.minutes(2))) struct UnixSockets {
  @Test func theServerKnowsWhoseProcessAsks() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let path = "\(directory.path)/s.sock"
    let server = try await HTTPServer.bind([.unix(path: path)], logger: quiet, handler: echo)
    #expect(try Files.status(path)?.mode == 0o600)
    let task = Task { try await server.run() }
    let done = try await command("curl", "--silent", "--unix-socket", path, "--dump-header", "-", "http://localhost/")
    #expect(done.output.contains("X-Peer: unix(user: \(CurrentProcess.effectiveUser), group: "), "\(done)")
    // One server a path.
    await #expect(throws: HTTPServerError.self) {
      _ = try await HTTPServer.bind([.unix(path: path)], logger: quiet, handler: echo)
    }
    task.cancel()
    _ = await task.result
    #expect(!Files.exists(path))
  }

  @Test func aSocketThatAKilledServerLeftIsReplaced() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let path = "\(directory.path)/s.sock"
    try Files.writeAtomically(path, [])
    let server = try await HTTPServer.bind([.unix(path: path)], logger: quiet, handler: echo)
    let task = Task { try await server.run() }
    let done = try await command("curl", "--silent", "--unix-socket", path, "--data", "x", "http://localhost/")
    #expect(done.output == "x")
    task.cancel()
    _ = await task.result
  }
}
