import HTTPServer
import JSON
import Kernel
import KubeModel
import ObjectStore

extension APIServer {
  private static let proxyTimeoutSeconds = 30
  /// What belongs to one connection, or says who the client is, stays here.
  private static let proxyDropped: Set<String> = [
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host",
    "authorization", "content-length", "x-forwarded-for", "x-remote-user", "x-remote-group",
  ]
  private static let proxyVerbs: Set<String> = ["get", "create", "update", "patch", "delete"]

  /// pods/proxy and services/proxy: one HTTP request to the port of a pod, or of one that is behind a Service.
  ///
  /// https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/
  func proxy(
    _ request: HTTPRequest, _ info: RequestInfo, _ resource: ServedResource
  ) async throws(APIStatus) -> HTTPResponse {
    if resource.type.plural == "nodes" {
      let node = String(info.name.split(separator: ":").first ?? "")
      return try await forward(request, to: try nodeEnd(node), path: "/\(info.rest)")
    }
    let parts = info.name.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard (1...3).contains(parts.count) else {
      throw .badRequest("invalid \(resource.type.plural == "pods" ? "pod" : "service") request \"\(info.name)\"")
    }
    let scheme = parts.count == 3 ? parts[0] : "http"
    let name = parts.count == 3 ? parts[1] : parts[0]
    guard scheme.isEmpty || scheme == "http" else {
      throw APIStatus(
        code: 501, reason: "NotImplemented",
        message: "proxying to \(resource.type.plural) by \(scheme) is not supported by this server; use http")
    }
    guard request.headers["upgrade"] == nil else {
      throw APIStatus(
        code: 501, reason: "NotImplemented",
        message: "proxying an upgraded connection is not supported by this server; use port-forward")
    }
    let port = parts.count > 1 ? parts[parts.count - 1] : ""
    let end =
      resource.type.plural == "pods"
      ? try podEnd(resource, info.namespace, name, port) : try serviceEnd(info.namespace, name, port)
    return try await forward(request, to: end, path: "/\(info.rest)")
  }

  /// The node's own server, which knows this one by its certificate.
  func nodeEnd(_ name: String) throws(APIStatus) -> HTTPEndpoint {
    guard let stored = store.get("/nodes/\(name)"), let node = try? JSONValue.parse(stored.value) else {
      throw .notFound(QualifiedResource(group: "", resource: "nodes"), name)
    }
    guard let host = NodeRoute.address(of: node) else {
      throw .serviceUnavailable("node \(name) has not told its address")
    }
    let port = node.at(["status", "daemonEndpoints", "kubeletEndpoint", "Port"])?.integer.flatMap { Int($0) } ?? 0
    return .tls(
      host: host, port: port > 0 ? port : NodeRoute.usualPort, serverName: name, identity: access.nodes.identity())
  }

  private func podEnd(
    _ resource: ServedResource, _ namespace: String, _ name: String, _ port: String
  ) throws(APIStatus) -> HTTPEndpoint {
    guard let stored = store.get(resource.key(namespace: namespace, name: name)),
      let pod = try? JSONValue.parse(stored.value)
    else { throw .notFound(resource.qualified, name) }
    let address = pod.text("status", "podIP")
    guard !address.isEmpty else { throw .badRequest("address not allowed") }
    let ports = (pod["spec"]?["containers"]?.array ?? []).flatMap { $0["ports"]?.array ?? [] }
    let named = ports.first { port.isEmpty || $0.text("name") == port }?["containerPort"]?.integer
    guard let number = Int(port) ?? named.map({ Int($0) }) ?? (port.isEmpty ? 80 : nil), (1...65535).contains(number)
    else { throw .badRequest("invalid port \"\(port)\"") }
    return .tcp(host: address, port: number)
  }

  /// A ready endpoint of the Service's port, whichever comes first by chance.
  private func serviceEnd(
    _ namespace: String, _ name: String, _ port: String
  ) throws(APIStatus) -> HTTPEndpoint {
    guard let stored = store.get("/services/\(namespace)/\(name)"), let service = try? JSONValue.parse(stored.value)
    else { throw .notFound(QualifiedResource(group: "", resource: "services"), name) }
    let ports = service["spec"]?["ports"]?.array ?? []
    let wanted = ports.first {
      port.isEmpty ? ports.count == 1 : $0.text("name") == port || $0["port"]?.integer == Int64(port)
    }
    guard let wanted else { throw .serviceUnavailable("no service port \"\(port)\" found for service \"\(name)\"") }
    var ends: [HTTPEndpoint] = []
    for object in store.list(prefix: "/endpointslices.discovery.k8s.io/\(namespace)/").objects {
      guard let slice = try? JSONValue.parse(object.value),
        slice["metadata"]?["labels"]?["kubernetes.io/service-name"]?.string == name,
        let number = (slice["ports"]?.array ?? []).first(where: { $0.text("name") == wanted.text("name") })?["port"]?
          .integer
      else { continue }
      for endpoint in slice["endpoints"]?.array ?? [] where endpoint["conditions"]?["ready"]?.bool != false {
        if let address = endpoint["addresses"]?[0]?.string { ends.append(.tcp(host: address, port: Int(number))) }
      }
    }
    guard let end = ends.randomElement() else {
      throw .serviceUnavailable("no endpoints available for service \"\(name)\"")
    }
    return end
  }

  /// Not this machine's own, and nothing that is nobody's: objects of users say where a proxy leads.
  static func mayReach(_ end: HTTPEndpoint) -> Bool {
    if case .tls = end { return true }
    guard case .tcp(let host, _) = end, let address = IPAddress(host) else { return false }
    let bytes = address.bytes
    // ::ffff:127.0.0.1 and its like.
    if bytes.count == 16, bytes.prefix(10).allSatisfy({ $0 == 0 }) { return false }
    if bytes.count == 4 {
      return bytes[0] != 0 && bytes[0] != 127 && bytes[0] < 224 && !(bytes[0] == 169 && bytes[1] == 254)
    }
    return bytes[0] != 0xFF && !(bytes[0] == 0xFE && bytes[1] & 0xC0 == 0x80)
  }

  /// Carries one request to an end and its answer back.
  func forward(
    _ request: HTTPRequest, to end: HTTPEndpoint, path: String
  ) async throws(APIStatus) -> HTTPResponse {
    guard Self.mayReach(end) else { throw .badRequest("address not allowed") }
    let bytes = try await body(request)
    var headers: HTTPFields = [:]
    for field in request.headers.fields where !Self.proxyDropped.contains(field.name.lowercased()) {
      headers.add(field.name, field.value)
    }
    let answer: HTTPDialedResponse
    do throws(HTTPDialError) {
      answer = try await HTTPDialer.send(
        method: request.method, target: HTTPTarget(path: path, query: request.query).raw, headers: headers, body: bytes,
        to: end, timeoutSeconds: Self.proxyTimeoutSeconds)
    } catch {
      throw .serviceUnavailable("error trying to reach service: \(error)")
    }
    var fields: HTTPFields = [:]
    for field in answer.headers.fields where !Self.proxyDropped.contains(field.name.lowercased()) {
      fields.add(field.name, field.value)
    }
    let owner = ProxiedAnswer(answer.tunnel)
    return HTTPResponse(
      status: answer.status, headers: fields,
      body: .stream { writer in
        try await withTaskCancellationHandler {
          while let bytes = try await owner.tunnel.read() { try await writer.write(bytes) }
        } onCancel: {
          owner.tunnel.close()
        }
      })
  }
}

/// Closes the connection when nobody holds the answer any more: it may never be asked for its body.
private final class ProxiedAnswer: Sendable {
  let tunnel: ByteTunnel

  init(_ tunnel: ByteTunnel) { self.tunnel = tunnel }

  deinit { tunnel.close() }
}
