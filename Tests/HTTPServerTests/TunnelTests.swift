import HTTPServer
import Kernel
import PKI
import TestSupport
import Testing

/// Upgrades to `echo` and gives back what comes, until the end.
@Sendable private func echoTunnel(_ request: HTTPRequest) async -> HTTPResponse {
  guard request.headers["upgrade"] != nil else { return .text("use an upgrade\n", status: 400) }
  return .upgrade(to: "echo") { tunnel in
    while let bytes = try await tunnel.read() { try await tunnel.write(bytes) }
    try await tunnel.write(Array("END".utf8))
  }
}

private func readAll(_ tunnel: ByteTunnel) async throws -> [UInt8] {
  var all: [UInt8] = []
  while let bytes = try await tunnel.read() { all += bytes }
  return all
}

@Suite(.timeLimit(.minutes(2))) struct Tunnels {
  private static let upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

  /// Sends `text` right behind the request, and closes its half once it came back.
  private static func talk(port: Int, _ text: String) async throws -> String {
    try await onFreshThread { () throws(SyscallError) -> String in
      do {
        let client = try RawClient(port: port)
        try client.send(upgrade + text)
        let first = client.read(until: text)
        client.closeWriting()
        return first + client.readToEnd()
      } catch { throw SyscallError(call: "talk", subject: "\(error)", errno: 0) }
    }
  }

  @Test func bytesThatFollowTheRequestAtOnceArrive() async throws {
    try await withServer(handler: echoTunnel) { port in
      let answer = try await Self.talk(port: port, "early")
      #expect(answer.hasPrefix("HTTP/1.1 101 Switching Protocols\r\n"))
      #expect(answer.contains("Upgrade: echo\r\n"))
      #expect(!answer.lowercased().contains("transfer-encoding") && !answer.lowercased().contains("content-length"))
      #expect(answer.hasSuffix("\r\n\r\nearlyEND"), "\(answer)")
    }
  }

  @Test func aRefusedUpgradeIsAnAnswer() async throws {
    try await withServer(handler: { _ in .text("no\n", status: 403) }) { port in
      let answer = try await RawClient.exchange(port: port, Self.upgrade)
      #expect(answer.hasPrefix("HTTP/1.1 403 ") && answer.hasSuffix("no\n"))
    }
  }

  @Test func anUpgradeThatNobodyAskedForIs400() async throws {
    try await withServer(handler: { _ in .upgrade(to: "echo") { _ in } }) { port in
      let answer = try await RawClient.exchange(port: port, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
      #expect(answer.hasPrefix("HTTP/1.1 400 "))
    }
  }

  @Test(arguments: [1, 100_000, 8 << 20]) func aTunnelCarriesEveryByte(_ size: Int) async throws {
    let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 9) }
    try await withServer(handler: echoTunnel) { port in
      let dialed = try await HTTPDialer.send(
        method: "GET", target: "/", headers: ["Connection": "Upgrade", "Upgrade": "echo"],
        to: .tcp(host: "127.0.0.1", port: port))
      #expect(dialed.status == 101)
      let tunnel = dialed.tunnel
      async let back = readAll(tunnel)
      var at = 0
      while at < bytes.count {
        let end = min(at + 50_000, bytes.count)
        try await tunnel.write(Array(bytes[at..<end]))
        at = end
      }
      await tunnel.closeWriting()
      #expect(try await back == bytes + Array("END".utf8))
      tunnel.close()
    }
  }

  @Test func aProxyPipesTwoTunnelsOverTLS() async throws {
    let test = try TestPKI()
    defer { try? test.directory.remove() }
    let (serving, client) = (test.identity, test.pki.nodeClient)
    let authority = test.pki.authority
    try await withServer(tls: HTTPTLS(serving), handler: echoTunnel) { inner in
      let endpoint = HTTPEndpoint.tls(
        host: "127.0.0.1", port: inner, serverName: "localhost",
        identity: HTTPDialIdentity(
          authorities: authority, certificateChain: client.certificate, privateKey: client.privateKey))
      try await withServer(handler: { request in
        do throws(HTTPDialError) {
          let dialed = try await HTTPDialer.send(
            method: "GET", target: "/", headers: ["Connection": "Upgrade", "Upgrade": "echo"], to: endpoint)
          return .upgrade(to: "echo") { tunnel in await pipe(tunnel, dialed.tunnel) }
        } catch {
          return .text("\(error)", status: 502)
        }
      }) { outer in
        let answer = try await Self.talk(port: outer, "through")
        #expect(answer.hasSuffix("throughEND"), "\(answer)")
      }
    }
  }

  @Test func theWrongServersCertificateIsNotBelieved() async throws {
    let (test, other) = (try TestPKI(), try TestPKI())
    defer {
      try? test.directory.remove()
      try? other.directory.remove()
    }
    try await withServer(tls: HTTPTLS(test.identity)) { port in
      await #expect(throws: HTTPDialError.self) {
        _ = try await HTTPDialer.send(
          method: "GET", target: "/", headers: [:],
          to: .tls(
            host: "127.0.0.1", port: port, serverName: "localhost",
            identity: HTTPDialIdentity(authorities: other.pki.authority)))
      }
    }
  }

  @Test func aDialedAnswersBodyStreams() async throws {
    try await withServer(handler: { _ in
      HTTPResponse(
        body: .stream { writer in
          for index in 0..<5 {
            try await writer.write(Array("line \(index)\n".utf8))
            try await Task.sleep(for: .milliseconds(5))
          }
        })
    }) { port in
      let dialed = try await HTTPDialer.send(
        method: "GET", target: "/logs", headers: [:], to: .tcp(host: "127.0.0.1", port: port))
      #expect(dialed.status == 200)
      let text = String(decoding: try await readAll(dialed.tunnel), as: UTF8.self)
      #expect(text == (0..<5).map { "line \($0)\n" }.joined())
    }
  }

  @Test func aBodyThatBreaksOffIsNoWholeBody() async throws {
    struct Broken: Error {}
    try await withServer(handler: { _ in
      HTTPResponse(
        body: .stream { writer in
          try await writer.write(Array("half".utf8))
          throw Broken()
        })
    }) { port in
      let dialed = try await HTTPDialer.send(
        method: "GET", target: "/", headers: [:], to: .tcp(host: "127.0.0.1", port: port))
      await #expect(throws: HTTPBodyError.self) { _ = try await readAll(dialed.tunnel) }
    }
  }

  @Test func nobodyListeningIsAnErrorThatNamesTheAddress() async throws {
    let error = await #expect(throws: HTTPDialError.self) {
      _ = try await HTTPDialer.send(method: "GET", target: "/", headers: [:], to: .tcp(host: "127.0.0.1", port: 1))
    }
    #expect("\(try #require(error))".contains("127.0.0.1:1"))
  }

  @Test func aServerThatSaysNothingTimesOut() async throws {
    try await withServer(handler: { _ in
      try? await Task.sleep(for: .seconds(20))
      return .text("late")
    }) { port in
      let error = await #expect(throws: HTTPDialError.self) {
        _ = try await HTTPDialer.send(
          method: "GET", target: "/", headers: [:], to: .tcp(host: "127.0.0.1", port: port), timeoutSeconds: 1)
      }
      guard case .timedOut = error else { throw error ?? .exchange(endpoint: "", reason: "no error") }
    }
  }

  @Test func oneEndsBreakBreaksTheOther() async throws {
    try await withServer(handler: echoTunnel) { port in
      let dial = { () async throws -> ByteTunnel in
        try await HTTPDialer.send(
          method: "GET", target: "/", headers: ["Connection": "Upgrade", "Upgrade": "echo"],
          to: .tcp(host: "127.0.0.1", port: port)
        ).tunnel
      }
      let (left, right) = (try await dial(), try await dial())
      let piping = Task { await pipe(left, right) }
      try await left.write([1])
      left.close()
      await piping.value
      await #expect(throws: HTTPBodyError.self) { while try await right.read() != nil {} }
    }
  }
}

@Suite struct Targets {
  @Test(arguments: [
    ("/a", "/a", ""), ("/a?", "/a", ""), ("/a?b", "/a", "b="), ("/a?b=c&&d=e", "/a", "b=c|d=e"),
    ("/%E2%82%AC?x=%E2%82%AC", "/€", "x=€"), ("http://h:1/p?q=1", "/p", "q=1"), ("/a%2Fb", "/a/b", ""),
  ])
  func areTakenApart(_ raw: String, _ path: String, _ query: String) throws {
    let target = try #require(HTTPTarget(raw))
    #expect(target.path == path)
    #expect(target.query.map { "\($0.name)=\($0.value)" }.joined(separator: "|") == query)
  }

  @Test(arguments: ["", "a", "*", "/%", "/%1", "/%g0", "/%00", "/%ff", "/?a=%zz"]) func orRefused(_ raw: String) {
    #expect(HTTPTarget(raw) == nil)
  }

  @Test func whatIsEscapedIsReadBack() throws {
    let query: HTTPQuery = ["command": "sh -c 'a&b=c+d%'", "ü": "€\n"]
    let made = HTTPTarget(path: "/exec/ns/a b", query: query)
    let read = try #require(HTTPTarget(made.raw))
    #expect(read == made)
  }
}

@Suite struct Dates {
  @Test(arguments: [
    (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
    (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"), (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
  ])
  func areWrittenAsHTTPWritesThem(_ seconds: Int64, _ text: String) { #expect(HTTPDate.text(seconds) == text) }
}
