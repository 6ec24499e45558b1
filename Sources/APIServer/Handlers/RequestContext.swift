import HTTPServer
import JSON
import KubeModel
import KubeSchema

/// One request for a resource, on its way through a handler.
struct RequestContext: Sendable {
  let request: HTTPRequest
  let info: RequestInfo
  let user: UserInfo
  let resource: ServedResource
  let negotiated: Negotiated
  /// Seconds since 1970.
  let now: Int64
  /// What admission tells the client besides the answer.
  let notes = AdmissionNotes()

  var query: HTTPQuery { request.query }
  /// Where the object is or is to be.
  var namespace: String { resource.type.isNamespaced ? info.namespace : "" }
  var key: String { resource.key(namespace: namespace, name: info.name) }

  /// The stored bytes are the answer, but for the revision.
  var isPlain: Bool { negotiated == Negotiated() && !resource.isConverted }
  /// The kept protobuf message is the answer.
  var isPlainProtobuf: Bool { negotiated.isPlainProtobuf && !resource.isConverted }

  func notFound() -> APIStatus { .notFound(resource.qualified, info.name) }
}

extension APIServer {
  /// Sends a request to its handler by verb and subresource.
  func handle(
    _ request: HTTPRequest, _ info: RequestInfo, _ user: UserInfo, _ resource: ServedResource
  ) async throws(APIStatus) -> HTTPResponse {
    // Names that would leave their place in the keys never come from the path alone, but may hold escaped slashes.
    guard !info.name.contains("/"), !info.namespace.contains("/") else { return Self.pageNotFound }
    guard resource.type.isNamespaced || info.namespace.isEmpty || info.resource == "namespaces" else {
      return Self.pageNotFound
    }
    if !info.subresource.isEmpty { return try await handleSubresource(request, info, user, resource) }
    guard resource.verbs.contains(info.verb) else { throw .methodNotAllowed(resource.qualified) }
    if resource.type.isNamespaced, info.namespace.isEmpty, info.verb != "list", info.verb != "watch" {
      throw .methodNotAllowed(resource.qualified)
    }
    // A collection has no changes of its own.
    if info.name.isEmpty, info.verb == "update" || info.verb == "patch" { throw .methodNotAllowed(resource.qualified) }
    let context = try makeContext(request, info, user, resource)
    try await prepareConversion(context)
    switch info.verb {
    case "get": return try get(context)
    case "list": return try await list(context)
    case "watch": return try watch(context)
    case "create":
      switch (resource.type.group, resource.type.plural) {
      case ("", "bindings"): return try await bind(context)
      case ("authorization.k8s.io", _): return try await review(context)
      case ("authentication.k8s.io", _): return try await identityReview(context)
      default: return try await create(context)
      }
    case "update": return try await update(context)
    case "patch": return try await patch(context)
    case "delete": return try await delete(context)
    case "deletecollection": return try await deleteCollection(context)
    default: throw .methodNotAllowed(resource.qualified)
    }
  }

  func makeContext(
    _ request: HTTPRequest, _ info: RequestInfo, _ user: UserInfo, _ resource: ServedResource
  ) throws(APIStatus) -> RequestContext {
    var negotiated = try Negotiated(accept: request.headers["accept"], isWatch: info.verb == "watch")
    // These have no protobuf form; who takes it takes JSON as well.
    if resource.custom != nil || resource.type.group == CustomResource.definitionsGroup,
      negotiated.encoding == .protobuf
    {
      negotiated.encoding = .json
    }
    return RequestContext(
      request: request, info: info, user: user, resource: resource, negotiated: negotiated, now: configuration.now())
  }

  private func handleSubresource(
    _ request: HTTPRequest, _ info: RequestInfo, _ user: UserInfo, _ resource: ServedResource
  ) async throws(APIStatus) -> HTTPResponse {
    guard let subresource = resource.subresources[info.subresource], !info.name.isEmpty,
      info.rest.isEmpty || info.subresource == "proxy"
    else {
      return Self.pageNotFound
    }
    guard subresource.verbs.contains(info.verb) else {
      throw .methodNotAllowed(
        QualifiedResource(group: info.group, resource: "\(info.resource)/\(info.subresource)"))
    }
    if resource.type.plural == "pods", NodeProxy.serves(subresource: info.subresource) {
      return await access.nodes.respond(
        to: request, namespace: info.namespace, pod: info.name, subresource: info.subresource)
    }
    if info.subresource == "proxy" { return try await proxy(request, info, resource) }
    let context = try makeContext(request, info, user, resource)
    try await prepareConversion(context)
    switch (info.subresource, info.verb) {
    case ("ephemeralcontainers", "get"): return try get(context)
    case ("ephemeralcontainers", "update"): return try await update(context)
    case ("ephemeralcontainers", "patch"): return try await patch(context)
    case ("resize", "get"): return try get(context)
    case ("resize", "update"): return try await update(context)
    case ("resize", "patch"): return try await patch(context)
    case ("eviction", "create"): return try await evict(context)
    case ("status", "get"): return try get(context)
    case ("status", "update"): return try await update(context)
    case ("status", "patch"): return try await patch(context)
    case ("scale", _): return try await scale(context)
    case ("binding", "create"): return try await bind(context)
    case ("approval", "get"): return try get(context)
    case ("approval", _): return try await approve(context)
    case ("token", "create"): return try await requestToken(context)
    case ("finalize", "update"): return try await update(context)
    default: return Self.pageNotFound
    }
  }
}
