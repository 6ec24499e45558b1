import HTTPServer
import Kernel
import PKI
import TestSupport
import Testing

/// A server's certificates in a directory, and the paths that curl needs.
struct TestPKI {
  let directory: TestDirectory
  let pki: ClusterPKI

  init() throws {
    directory = try TestDirectory()
    pki = try ClusterPKI.open(directory.path, names: ServerNames(advertiseAddress: "127.0.0.1"))
  }

  var identity: HTTPTLSIdentity {
    HTTPTLSIdentity(
      certificateChain: pki.serving.certificate, privateKey: pki.serving.privateKey, authorities: pki.authority)
  }
  var authorityFile: String { "\(directory.path)/ca.crt" }
  /// Certificate and key in one, as curl takes them.
  var administratorFile: String { "\(directory.path)/admin.pem" }
}

@Suite(.timeLimit(.minutes(2))) struct OverTLS {
  @Test(arguments: ["--http1.1": "1", "--http2": "2"]) func theClientIsWhoItsCertificateSays(
    _ flag: String, _ version: String
  ) async throws {
    let test = try TestPKI()
    defer { try? test.directory.remove() }
    try await withServer(tls: HTTPTLS(test.identity)) { port in
      let done = try await command(
        "curl", "--silent", "--show-error", flag, "--cacert", test.authorityFile, "--cert", test.administratorFile,
        "--dump-header", "-", "--data", "body", "https://localhost:\(port)/x")
      let output = done.output.lowercased()
      #expect(output.contains("x-version: \(version)"), "\(done)")
      #expect(output.contains("certificate(commonname: \"kubernetes-admin\", organizations: [\"system:masters\"])"))
      #expect(output.hasSuffix("body"))
    }
  }

  @Test func withoutACertificateTheClientIsAnonymous() async throws {
    let test = try TestPKI()
    defer { try? test.directory.remove() }
    try await withServer(tls: HTTPTLS(test.identity)) { port in
      let done = try await command(
        "curl", "--silent", "--cacert", test.authorityFile, "--dump-header", "-", "https://127.0.0.1:\(port)/")
      #expect(done.output.lowercased().contains("x-peer: anonymous"), "\(done)")
    }
  }

  @Test func aStrangersCertificateBreaksTheHandshake() async throws {
    let (test, stranger) = (try TestPKI(), try TestPKI())
    defer {
      try? test.directory.remove()
      try? stranger.directory.remove()
    }
    try await withServer(tls: HTTPTLS(test.identity)) { port in
      let done = try await command(
        "curl", "--silent", "--show-error", "--cacert", test.authorityFile, "--cert", stranger.administratorFile,
        "https://localhost:\(port)/")
      #expect(done.code != 0 && done.output.isEmpty, "\(done)")
    }
  }

  @Test func aRenewedCertificateIsShownToNewConnections() async throws {
    let test = try TestPKI()
    defer { try? test.directory.remove() }
    let tls = try HTTPTLS(test.identity)
    let other = try ClusterPKI.open("\(test.directory.path)/other", names: ServerNames(advertiseAddress: "127.0.0.1"))
    try await withServer(tls: tls) { port in
      try tls.replace(
        HTTPTLSIdentity(
          certificateChain: other.serving.certificate, privateKey: other.serving.privateKey,
          authorities: other.authority))
      let done = try await command(
        "curl", "--silent", "--cacert", "\(test.directory.path)/other/ca.crt", "https://localhost:\(port)/")
      #expect(done.code == 0, "\(done)")
    }
  }

  @Test func aKeyThatDoesNotFitIsRefusedByName() throws {
    let (test, other) = (try TestPKI(), try TestPKI())
    defer {
      try? test.directory.remove()
      try? other.directory.remove()
    }
    var identity = test.identity
    identity.privateKey = other.identity.privateKey
    #expect(throws: HTTPServerError.self) { _ = try HTTPTLS(identity) }
    identity.privateKey = Array("nonsense".utf8)
    #expect(throws: HTTPServerError.self) { _ = try HTTPTLS(identity) }
  }

  @Test func plainTextOnATLSPortIsClosed() async throws {
    let test = try TestPKI()
    defer { try? test.directory.remove() }
    try await withServer(tls: HTTPTLS(test.identity)) { port in
      let answer = try await RawClient.exchange(port: port, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
      #expect(!answer.hasPrefix("HTTP/1.1 200"))
    }
  }

  @Test func aKilledHTTP2ClientLeavesNoStream() async throws {
    let test = try TestPKI()
    defer { try? test.directory.remove() }
    let (began, ended) = (Counter(), Counter())
    try await withServer(
      tls: HTTPTLS(test.identity),
      handler: { _ in
        HTTPResponse(
          body: .stream { writer in
            began.add()
            defer { ended.add() }
            try await writer.write(Array("e".utf8))
            try await Task.sleep(for: .seconds(60))
          })
      }
    ) { port in
      _ = try await command(
        "timeout", "--signal=KILL", "1", "curl", "--silent", "--http2", "--no-buffer", "--cacert", test.authorityFile,
        "https://localhost:\(port)/watch")
      #expect(began.value == 1)
      try await eventually("the stream has ended with its client") { ended.value == 1 }
    }
  }

  @Test func manyRequestsShareAnHTTP2ConnectionWhileOneStreams() async throws {
    let test = try TestPKI()
    defer { try? test.directory.remove() }
    let events = Counter()
    try await withServer(
      tls: HTTPTLS(test.identity),
      handler: { request in
        guard request.path == "/watch" else { return await echo(request) }
        return HTTPResponse(
          body: .stream { writer in
            while events.value < 40 {
              try await Task.sleep(for: .milliseconds(1))
              try await writer.write(Array("e".utf8))
            }
          })
      }
    ) { port in
      var words = ["--silent", "--http2", "--parallel", "--parallel-immediate", "--cacert", test.authorityFile]
      words.append("https://localhost:\(port)/watch")
      for index in 0..<40 { words += ["https://localhost:\(port)/\(index)", "--data", "12345"] }
      async let watching = command(
        "curl", "--silent", "--http2", "--cacert", test.authorityFile,
        "https://localhost:\(port)/watch")
      for index in 0..<4 {
        let done = try await command(
          "curl", "--silent", "--http2", "--cacert", test.authorityFile, "--data", "12345",
          "https://localhost:\(port)/[0-9]?\(index)")
        #expect(done.output == String(repeating: "12345", count: 10), "\(done)")
        events.add(10)
      }
      #expect(try await watching.output.allSatisfy { $0 == "e" })
    }
  }

  @Test func anHTTP2BodyBeyondTheCapIs413() async throws {
    let test = try TestPKI()
    defer { try? test.directory.remove() }
    try Files.writeAtomically("\(test.directory.path)/big", [UInt8](repeating: 1, count: 4 << 20))
    try await withServer(tls: HTTPTLS(test.identity)) { port in
      let done = try await command(
        "curl", "--silent", "--http2", "--cacert", test.authorityFile, "--data-binary",
        "@\(test.directory.path)/big", "--write-out", "%{http_code}", "https://localhost:\(port)/")
      #expect(done.output.hasSuffix("413"), "\(done)")
    }
  }
}
