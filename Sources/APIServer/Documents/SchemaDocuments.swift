import HTTPServer
import JSON
import KubePresentation

extension Documents {
  /// Seconds for which a document that is named by its content may be kept.
  private static let immutableSeconds = 31_536_000

  /// `/openapi/v2`, `/openapi/v3` and what lies below it; nil where there is nothing.
  func schema(_ parts: [String], _ request: HTTPRequest) throws(APIStatus) -> HTTPResponse? {
    switch (parts.count, parts.count > 1 ? parts[1] : "") {
    case (2, "v2"): return try schemaV2(request)
    case (2, "v3"): return schemaIndex()?.response(to: request, cacheControl: APIServer.uncached)
    case (4..., "v3"): return schemaV3(parts[2...].joined(separator: "/"), request)
    default: return nil
    }
  }

  private func schemaV2(_ request: HTTPRequest) throws(APIStatus) -> HTTPResponse? {
    let ranges = (request.headers["accept"] ?? "").split(separator: ",").prefix(16).map { MediaType($0).type }
    if let first = ranges.first(where: { $0 == "application/json" || OpenAPI.v2ProtobufAccepted.contains($0) }),
      first != "application/json"
    {
      return cache.document("openapi/v2 protobuf") {
        CachedDocument(openAPI.v2Protobuf(), mediaType: OpenAPI.v2ProtobufMediaType)
      }?.response(to: request)
    }
    _ = try Negotiated(accept: request.headers["accept"], allowsForms: false)
    return cache.document("openapi/v2") { CachedDocument(openAPI.v2()) }?.response(to: request)
  }

  private func document(named name: String) -> CachedDocument? {
    if let beyond, beyond.names.contains(name) { return beyond.documents.document(named: name) }
    return cache.document("openapi/v3/\(name)") { openAPI.v3(named: name).map { CachedDocument($0) } }
  }

  /// The list of documents, each with the hash by which clients keep it.
  private func schemaIndex() -> CachedDocument? {
    cache.document("openapi/v3") {
      var hashes: [String: String] = [:]
      for name in openAPI.v3Names { hashes[name] = document(named: name)?.hash }
      return CachedDocument(openAPI.v3Index(hashes: hashes).encoded())
    }
  }

  private func schemaV3(_ name: String, _ request: HTTPRequest) -> HTTPResponse? {
    guard let document = document(named: name) else { return nil }
    guard let hash = request.query["hash"] else { return document.response(to: request) }
    guard hash == document.hash else {
      // The client knows an older one: it is told where the present one is, so that it keeps it under its own name.
      return HTTPResponse(
        status: 301,
        headers: ["Location": "/openapi/v3/\(name)?hash=\(document.hash)", "Cache-Control": APIServer.uncached])
    }
    return document.response(
      to: request, cacheControl: "public, immutable, max-age=\(Self.immutableSeconds)")
  }
}
