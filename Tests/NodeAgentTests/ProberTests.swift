import HTTPServer
import Kernel
import KubeModel
import Logging
import PKI
import TestSupport
import Testing

@testable import NodeAgent

/// Over real sockets on the loopback interface.
@Suite(.timeLimit(.minutes(1))) struct ProberTests {
  private func answers(
    _ status: Int, tls: HTTPTLS? = nil, _ body: (Int32) async throws -> Void
  ) async throws {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let server = try await HTTPServer.bind([.tcp(host: "127.0.0.1", port: 0, tls: tls)], logger: logger) { request in
      HTTPResponse(status: request.path == "/healthz" ? status : 404)
    }
    let task = Task { try await server.run() }
    let result: Result<Void, any Error>
    do { result = .success(try await body(Int32(server.ports.first ?? 0))) } catch { result = .failure(error) }
    task.cancel()
    _ = await task.result
    try result.get()
  }

  private func probe(_ port: Int32, scheme: String) async -> ProbeResult {
    var get = HTTPGetAction()
    get.port = .int(port)
    get.path = "/healthz"
    get.scheme = scheme
    var probe = Probe()
    probe.httpGet = get
    guard let target = ProbeTarget(probe, of: Container(), address: "127.0.0.1") else {
      return ProbeResult(success: false, message: "no target")
    }
    return await Prober().run(target, container: "c", runtime: FakeRuntime(), timeout: .seconds(10))
  }

  @Test(arguments: [(200, ""), (302, ""), (503, "HTTP probe failed with statuscode: 503")])
  func aPageDecides(_ status: Int, _ message: String) async throws {
    try await answers(status) { port in
      let result = await probe(port, scheme: "HTTP")
      #expect(result == ProbeResult(success: message.isEmpty, message: message))
    }
  }

  @Test(arguments: [(200, ""), (500, "HTTP probe failed with statuscode: 500")])
  func aPageOverTLSIsAskedForWhoeverItsCertificateNames(_ status: Int, _ message: String) async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    // Nothing here trusts this authority, and the name is another's.
    let pki = try ClusterPKI.open(directory.path, names: ServerNames(advertiseAddress: "10.0.0.9"))
    let tls = try HTTPTLS(
      HTTPTLSIdentity(
        certificateChain: pki.serving.certificate, privateKey: pki.serving.privateKey, authorities: pki.authority))
    try await answers(status, tls: tls) { port in
      let result = await probe(port, scheme: "HTTPS")
      #expect(result == ProbeResult(success: message.isEmpty, message: message))
    }
  }

  @Test func plainHTTPIsNoTLS() async throws {
    try await answers(200) { port in
      let result = await probe(port, scheme: "HTTPS")
      #expect(!result.success)
      #expect(result.message.hasPrefix("Get \"https://127.0.0.1:\(port)/healthz\""))
    }
  }
}
