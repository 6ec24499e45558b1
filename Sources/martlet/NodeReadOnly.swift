import HTTPServer
import Logging
import NodeAgent

/// A kubelet's read-only port: what monitoring of this machine reads, without TLS and without credentials, so on its loopback
/// address alone and only where it was asked for.
struct NodeReadOnly: Sendable {
  let agent: NodeAgent
  let runtime: any StreamingRuntime
  let port: Int
  let logger: Logger

  /// Until cancelled.
  func run() async throws {
    let server = NodeServer(agent: agent, runtime: runtime, logger: logger)
    let bound: HTTPServer
    do {
      bound = try await HTTPServer.bind(
        [.tcp(host: "127.0.0.1", port: port, tls: nil)], logger: logger,
        handler: { await server.respondReadOnly(to: $0) })
    } catch {
      throw Failure("--read-only-port \(port): \(error)", hint: "give a free port, or 0 for none")
    }
    logger.info("everybody on this machine may read at \(bound.addresses.joined(separator: ", "))")
    try await bound.run()
  }
}
