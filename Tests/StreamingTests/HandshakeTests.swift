import CRIClient
import Kernel
import Logging
import NIOCore
import NIOPosix
import Streaming
import Synchronization
import Testing

@Suite struct HandshakeTests {
  @Test func aURLIsServedOnce() async throws {
    try await withServer { server in
      let url = try server.url(for: request("true"))
      #expect(try await StreamingSession.run(url: url, onOutput: { _, _ in }) == .exited(0))
      let error = await #expect(throws: StreamingClientError.self) {
        try await StreamingSession.run(url: url, onOutput: { _, _ in })
      }
      #expect(error?.stage == "upgrade")
      #expect(error?.message == "HTTP 404: unknown, used or expired streaming URL")
    }
  }

  @Test func aURLExpires() async throws {
    try await withServer({ $0.pendingLifetime = .milliseconds(20) }) { server in
      let url = try server.url(for: request("true"))
      try await Task.sleep(for: .milliseconds(60))
      await #expect(throws: StreamingClientError.self) {
        try await StreamingSession.run(url: url, onOutput: { _, _ in })
      }
    }
  }

  @Test func aGuessedURLIsRefused() async throws {
    try await withServer { server in
      await #expect(throws: StreamingClientError.self) {
        try await StreamingSession.run(url: "\(server.baseURL)/exec/\(randomHex(bytes: 16))", onOutput: { _, _ in })
      }
    }
  }

  @Test(arguments: ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1"])
  func aBrowsersOriginIsRefusedAndTheURLStaysGood(_ origin: String) async throws {
    try await withServer { server in
      let url = try server.url(for: request("true"))
      let answer = try await rawExchange(url) { upgradeRequest($0, $1, extra: "Origin: \(origin)\r\n") }
      #expect(answer.hasPrefix("HTTP/1.1 403 "))
      #expect(try await StreamingSession.run(url: url, onOutput: { _, _ in }) == .exited(0))
    }
  }

  @Test func aClientThatRepeatsItsHostAsOriginIsServed() async throws {
    try await withServer { server in
      let url = try server.url(for: request("true"))
      let answer = try await rawExchange(url) { host, path in
        upgradeRequest(host, path, extra: "Origin: http://\(host)\r\n")
      }
      #expect(answer.hasPrefix("HTTP/1.1 101 "))
    }
  }

  @Test func aReboundNameIsNoOrigin() async throws {
    try await withServer { server in
      let url = try server.url(for: request("true"))
      let answer = try await rawExchange(url) { _, path in
        upgradeRequest("rebound.example:80", path, extra: "Origin: http://rebound.example:80\r\n")
      }
      #expect(answer.hasPrefix("HTTP/1.1 403 "))
    }
  }

  @Test func aRequestWithoutUpgradeIsToldWhatToDo() async throws {
    try await withServer { server in
      let url = try server.url(for: request("true"))
      let answer = try await rawExchange(url) { "GET \($1) HTTP/1.1\r\nHost: \($0)\r\n\r\n" }
      #expect(answer.hasPrefix("HTTP/1.1 400 "))
    }
  }

  @Test func anUnknownSubprotocolIsRefused() async throws {
    try await withServer { server in
      let url = try server.url(for: request("true"))
      let answer = try await rawExchange(url) { upgradeRequest($0, $1, proto: "v9.channel.k8s.io") }
      #expect(answer.hasPrefix("HTTP/1.1 400 "))
    }
  }

  @Test func aConnectionThatSaysNothingIsClosed() async throws {
    try await withServer({ $0.handshakeTimeout = .milliseconds(50) }) { server in
      let start = ContinuousClock.now
      let answer = try await rawExchange(server.baseURL + "/") { _, _ in "" }
      #expect(answer.isEmpty)
      #expect(ContinuousClock.now - start < .seconds(8))
    }
  }

  @Test func aTakenPortIsAnErrorThatNamesIt() async throws {
    try await withServer { server in
      let port = Int(server.baseURL.split(separator: ":").last ?? "") ?? 0
      let error = await #expect(throws: StreamingError.self) {
        try await withServer({ $0.port = port }) { _ in }
      }
      #expect(error.map { "\($0)".contains("127.0.0.1:\(port)") } == true)
    }
  }

  @Test func aThousandBrokenSessionsLeakNothing() async {
    await #expect(processExitsWith: .success) {
      try await withServer { server in
        // What is opened once (event loops, their wake-ups) is there before counting; also the descriptor that the first
        // sleep of a process opens, which a session only needs where its client is slow to leave.
        _ = try await StreamingSession.run(url: try server.url(for: request("true")), onOutput: { _, _ in })
        try await Task.sleep(for: .milliseconds(1))
        let before = try CurrentProcess.openDescriptors()
        for round in 0..<1000 {
          let url = try server.url(for: request("cat; sleep 60"))
          _ = try await rawExchange(url) { host, path in
            switch round % 4 {
            // Gone after the upgrade, in the middle of a frame, with nonsense for a frame, in the middle of the request.
            case 0: upgradeRequest(host, path)
            case 1: upgradeRequest(host, path) + "\u{2}\u{7f}"
            case 2: upgradeRequest(host, path) + String(repeating: "x", count: 4096)
            default: "\(upgradeRequest(host, path).prefix(40))\r\n\r\n"
            }
          }
        }
        let deadline = ContinuousClock.now + .seconds(30)
        while try CurrentProcess.openDescriptors() > before, ContinuousClock.now < deadline {
          try await Task.sleep(for: .milliseconds(50))
        }
        let after = try CurrentProcess.openDescriptors()
        let open = try Directory(path: "/proc/self/fd").list().map { entry in
          "\(entry.name) \((try? Files.readLink("/proc/self/fd/\(entry.name)")) ?? "closed")"
        }
        precondition(after <= before, "\(after) descriptors open, \(before) before: \(open)")
      }
    }
  }
}
