package import HTTPServer
import JSON

/// The way to a pod's node: log, exec, attach and portforward.
///
/// The node's server is known by its certificate, and it knows this server by the client certificate. What a client and
/// a node agree on after an upgrade (WebSocket, SPDY/3.1, SPDY inside a WebSocket) passes through as bytes.
package struct NodeProxy: Sendable {
  private let reader: ObjectReader
  let identity: @Sendable () -> HTTPDialIdentity

  /// For connecting to a node, and again for its answer.
  private static let timeoutSeconds = 30
  /// Of what a node says why it does not do what was asked.
  private static let refusalBytesMax = 64 << 10

  package init(reader: ObjectReader, identity: @escaping @Sendable () -> HTTPDialIdentity) {
    self.reader = reader
    self.identity = identity
  }

  /// Whether `subresource` of a pod is answered by its node.
  package static func serves(subresource: String) -> Bool {
    ["log", "exec", "attach", "portforward"].contains(subresource)
  }

  /// Answers GET or POST `/api/v1/namespaces/NAMESPACE/pods/NAME/SUBRESOURCE` for a user who may.
  package func respond(
    to request: HTTPRequest, namespace: String, pod: String, subresource: String
  ) async -> HTTPResponse {
    do throws(AccessRefusal) {
      let route = try NodeRoute.plan(
        subresource: subresource, namespace: namespace, name: pod, query: request.query,
        pod: reader.object("/pods/\(namespace)/\(pod)"), node: { reader.object("/nodes/\($0)") })
      guard subresource != "log" else { return try await log(request, route, pod: pod) }
      guard let route else { throw .badRequest("pod \(pod) does not have a host assigned") }
      return try await stream(request, route)
    } catch {
      return error.response
    }
  }

  private static let logHeaders: HTTPFields = ["Content-Type": "text/plain", "Cache-Control": "no-cache, private"]

  private func log(
    _ request: HTTPRequest, _ route: NodeRoute?, pod: String
  ) async throws(AccessRefusal) -> HTTPResponse {
    guard let route else { return HTTPResponse(headers: Self.logHeaders, body: .bytes([])) }
    let answer = try await dial(route, method: "GET", headers: [:])
    guard answer.status == 200 else {
      let text = await Self.text(of: answer)
      throw .answered(answer.status, text, name: pod, subresource: "log")
    }
    let owner = TunnelOwner(answer.tunnel)
    return HTTPResponse(
      headers: Self.logHeaders,
      body: .stream { writer in
        try await withTaskCancellationHandler {
          while let bytes = try await owner.tunnel.read() { try await writer.write(bytes) }
        } onCancel: {
          owner.tunnel.close()
        }
      })
  }

  /// Fields that the two ends of an upgrade need of each other.
  private static let upgradeFields = [
    "upgrade", "sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol", "sec-websocket-extensions",
    "x-stream-protocol-version",
  ]
  private static let answerFields = [
    "sec-websocket-accept", "sec-websocket-protocol", "sec-websocket-extensions", "x-stream-protocol-version",
  ]

  private func stream(_ request: HTTPRequest, _ route: NodeRoute) async throws(AccessRefusal) -> HTTPResponse {
    guard request.majorVersion == 1, request.headers.holds("connection", token: "upgrade"),
      let token = request.headers["upgrade"]
    else { throw .badRequest("Upgrade request required") }
    var headers: HTTPFields = ["Connection": "Upgrade"]
    for name in Self.upgradeFields { for value in request.headers.all(name) { headers.add(name, value) } }
    let answer = try await dial(route, method: request.method, headers: headers)
    guard answer.status == 101 else {
      // As the node worded it: clients show it behind their own "unable to upgrade connection".
      let text = await Self.text(of: answer)
      let type = answer.headers["content-type"] ?? "text/plain; charset=utf-8"
      return HTTPResponse(
        status: answer.status == 200 ? 502 : answer.status, headers: ["Content-Type": type],
        body: .bytes(Array(text.utf8)))
    }
    var fields: HTTPFields = [:]
    for name in Self.answerFields { for value in answer.headers.all(name) { fields.add(name, value) } }
    let owner = TunnelOwner(answer.tunnel)
    return .upgrade(to: answer.headers["upgrade"] ?? token, headers: fields) { client in
      await pipe(client, owner.tunnel)
    }
  }

  private func dial(
    _ route: NodeRoute, method: String, headers: HTTPFields
  ) async throws(AccessRefusal) -> HTTPDialedResponse {
    do throws(HTTPDialError) {
      return try await HTTPDialer.send(
        method: method, target: HTTPTarget(path: route.path, query: route.query).raw, headers: headers,
        to: .tls(host: route.host, port: route.port, serverName: route.nodeName, identity: identity()),
        timeoutSeconds: Self.timeoutSeconds)
    } catch {
      throw .node("\(error)")
    }
  }

  private static func text(of answer: HTTPDialedResponse) async -> String {
    var bytes: [UInt8] = []
    while bytes.count < refusalBytesMax, let more = try? await answer.tunnel.read() { bytes += more }
    answer.tunnel.close()
    return String(decoding: bytes.prefix(refusalBytesMax), as: UTF8.self)
  }
}

/// Closes a tunnel when nobody holds it any more: an answer may never be asked for its body.
private final class TunnelOwner: Sendable {
  let tunnel: ByteTunnel

  init(_ tunnel: ByteTunnel) { self.tunnel = tunnel }

  deinit { tunnel.close() }
}
