import HTTPServer
import JSON
import KubeModel
import Kernel
import PKI
import Synchronization
import TestSupport
import Testing

@testable import KubeClient

/// Over real sockets, against our own HTTP server.
@Suite(.timeLimit(.minutes(2))) struct TransportTests {
  /// Says what it was asked; a watch tells two events, the second when `go` is raised.
  private static func answer(_ request: HTTPRequest, _ go: Signal) async -> HTTPResponse {
    if request.query.contains(where: { $0.name == "fieldSelector" }) {
      return HTTPResponse(body: .stream { _ in await Signal().wait() })
    }
    if request.query.contains(where: { $0.name == "watch" }) {
      return HTTPResponse(
        body: .stream { writer in
          for name in ["a", "b"] {
            let event: JSONValue = ["type": "ADDED", "object": configMap(name).json]
            try await writer.write(event.encoded() + [0x0A])
            await go.wait()
          }
        })
    }
    let body = (try? await request.body()) ?? []
    let said: JSONValue = [
      "method": .string(request.method), "path": .string(request.path),
      "body": .string(String(decoding: body, as: UTF8.self)),
      "query": .array(request.query.map { .string("\($0.name)=\($0.value)") }), "peer": .string("\(request.peer)"),
      "version": .integer(Int64(request.majorVersion)), "type": .string(request.headers["content-type"] ?? ""),
    ]
    return HTTPResponse(body: .bytes(said.encoded()))
  }

  private func withServer(
    _ listener: HTTPListener, _ body: (_ port: Int?, _ go: Signal) async throws -> Void
  ) async throws {
    let go = Signal()
    let server = try await HTTPServer.bind([listener], logger: silent) { await Self.answer($0, go) }
    let task = Task { try await server.run() }
    let result: Result<Void, any Error>
    do { result = .success(try await body(server.ports.first, go)) } catch { result = .failure(error) }
    task.cancel()
    _ = await task.result
    try result.get()
  }

  private func client(_ transport: KubeTransport) -> KubeClient { KubeClient(transport: transport, retry: .never) }

  private func checkExchange(_ client: KubeClient, version: Int64, peer: String) async throws {
    let request = KubeRequest(
      .put, "/api/v1/a b/ü", query: [("labelSelector", "app in (web,db),x!=1"), ("empty", "")],
      body: Array("{\"x\":1}".utf8))
    let said = try await client.document(request)
    #expect(said["method"] == "PUT")
    #expect(said["path"] == "/api/v1/a b/ü")
    #expect(said["query"] == ["labelSelector=app in (web,db),x!=1", "empty="])
    #expect(said["body"] == "{\"x\":1}")
    #expect(said["type"] == "application/json")
    #expect(said["version"] == .integer(version))
    #expect(said["peer"]?.string?.lowercased().contains(peer) == true, "\(said)")
  }

  /// The first event must come while the answer is still open.
  private func checkWatch(_ client: KubeClient, _ go: Signal) async throws {
    let watch: KubeWatch<ConfigMap> = try await client.watch()
    var names: [String] = []
    for try await case .added(let map) in watch {
      names.append(map.metadata.name ?? "")
      go.raise()
    }
    #expect(names == ["a", "b"])
  }

  @Test func requestsAndWatchesGoOverAUnixSocket() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let path = "\(directory.path)/server.sock"
    let client = client(.unix(path: path))
    try await withServer(.unix(path: path)) { _, go in
      try await checkExchange(client, version: 1, peer: "unix")
      try await checkWatch(client, go)
      // Many more watches than a pool of connections usually has.
      var open: [KubeWatch<ConfigMap>] = []
      for _ in 0..<40 {
        open.append(try await client.watch(ConfigMap.self, WatchOptions(fieldSelector: "never=again")))
      }
      try await checkExchange(client, version: 1, peer: "unix")
      #expect(open.count == 40)
    }
    let problem = await #expect(throws: KubeError.self) {
      _ = try await self.client(.unix(path: path)).raw(KubeRequest(.get, "/"))
    }
    #expect(problem?.failure == .connection(wasSent: false))
    #expect(problem?.description.contains(path) == true)
  }

  private func withTLS(
    host: String = "127.0.0.1",
    _ body: (ClusterPKI, TestDirectory, _ port: Int, _ go: Signal) async throws -> Void
  ) async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let pki = try ClusterPKI.open(directory.path, names: ServerNames(advertiseAddress: "127.0.0.1"))
    let tls = try HTTPTLS(
      HTTPTLSIdentity(
        certificateChain: pki.serving.certificate, privateKey: pki.serving.privateKey, authorities: pki.authority))
    try await withServer(.tcp(host: host, port: 0, tls: tls)) { port, go in
      try await body(pki, directory, try #require(port), go)
    }
  }

  private func write(
    _ pki: ClusterPKI, _ port: Int, to path: String, authority: [UInt8]? = nil, host: String = "127.0.0.1"
  )
    throws
  {
    _ = try KubeconfigFile(
      server: "https://\(host):\(port)", authority: authority ?? pki.authority, user: "admin",
      credential: pki.administrator
    ).write(to: path)
  }

  @Test func theClientCertificateOfAKubeconfigIsShown() async throws {
    try await withTLS { pki, directory, port, go in
      let path = "\(directory.path)/kubeconfig"
      try write(pki, port, to: path)
      let client = client(try .kubeconfig(path: path))
      try await checkExchange(client, version: 2, peer: "kubernetes-admin")
      try await checkWatch(client, go)
    }
  }

  @Test func aServerThatTheAuthorityDidNotSignIsRefused() async throws {
    try await withTLS { pki, directory, port, _ in
      let stranger = try ClusterPKI.open("\(directory.path)/other", names: ServerNames(advertiseAddress: "127.0.0.1"))
      let path = "\(directory.path)/kubeconfig"
      try write(pki, port, to: path, authority: stranger.authority)
      let problem = await #expect(throws: KubeError.self) {
        _ = try await client(try .kubeconfig(path: path)).raw(KubeRequest(.get, "/"))
      }
      #expect(problem?.failure == .connection(wasSent: false))
      #expect(problem?.message.contains("certificate-authority") == true)
    }
  }

  @Test func theNameOfTheCertificateCanBeGiven() async throws {
    // An address that is not in the certificate.
    try await withTLS(host: "127.0.0.3") { pki, _, port, _ in
      var configuration = Kubeconfig(server: "https://127.0.0.3:\(port)")
      configuration.certificateAuthority = .bytes(pki.authority)
      for name in [nil, "elsewhere"] {
        configuration.tlsServerName = name
        let problem = await #expect(throws: KubeError.self) {
          _ = try await client(try .kubeconfig(configuration)).raw(KubeRequest(.get, "/"))
        }
        #expect(problem?.message.contains("no TLS") == true, "\(String(describing: problem))")
      }
      configuration.tlsServerName = "kubernetes.default.svc"
      try await checkExchange(client(try .kubeconfig(configuration)), version: 2, peer: "anonymous")
    }
  }

  @Test func filesThatChangeAreReadAgain() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let (file, token) = ("\(directory.path)/kubeconfig", "\(directory.path)/token")
    func write(_ path: String, _ text: String) throws { try Files.writeAtomically(path, Array(text.utf8), mode: 0o600) }
    try write(token, "one\n")
    try write(
      file,
      """
      current-context: c
      clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
      contexts: [{name: c, context: {cluster: c, user: u}}]
      users: [{name: u, user: {tokenFile: token}}]
      """)
    let clock = ManualClock()
    let credentials = try KubeCredentials(path: file, context: nil, clock: clock.clock)
    #expect(try await credentials.current().authorization == "Bearer one")
    try write(token, "two\n")
    #expect(try await credentials.current().authorization == "Bearer one")
    clock.advance(by: .seconds(10))
    #expect(try await credentials.current().authorization == "Bearer two")
    try write(file, "half written")
    clock.advance(by: .seconds(10))
    #expect(try await credentials.current().authorization == "Bearer two")
    try write(
      file,
      """
      current-context: c
      clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
      contexts: [{name: c, context: {cluster: c, user: u}}]
      users: [{name: u, user: {token: three}}]
      """)
    clock.advance(by: .seconds(10))
    #expect(try await credentials.current().authorization == "Bearer three")
  }
}
