import HTTPServer
import JSON
import KubePresentation

extension Documents {
  /// In which of its forms a discovery document is wanted.
  private enum Form {
    case plain(Encoding)
    case aggregated(Discovery.AggregatedVersion)
  }

  /// `/api`, `/apis` and what lies below them; nil where there is nothing.
  func discovery(_ parts: [String], _ request: HTTPRequest) throws(APIStatus) -> HTTPResponse? {
    let isRoot = parts.count == 1
    switch try Self.form(request, allowsAggregated: isRoot) {
    case .aggregated(let version):
      return cache.document("\(parts[0]) \(version.rawValue)") {
        let document =
          parts[0] == "api" ? discovery.aggregatedAPI(version) : discovery.aggregatedAPIs(version)
        return CachedDocument(document.encoded(), mediaType: version.mediaType)
      }?.response(to: request)
    case .plain(let encoding):
      return cache.document("\(parts.joined(separator: "/")) \(encoding.mediaType)") {
        guard let document = plainDocument(parts) else { return nil }
        return CachedDocument(Self.encoded(document, encoding), mediaType: encoding.mediaType)
      }?.response(to: request, cacheControl: APIServer.uncached)
    }
  }

  private func plainDocument(_ parts: [String]) -> JSONValue? {
    switch (parts[0], parts.count) {
    case ("api", 1): discovery.api(serverAddress: serverAddress)
    case ("api", 2): discovery.resources(group: "", version: parts[1])
    case ("apis", 1): discovery.apis()
    case ("apis", 2): discovery.group(parts[1])
    case ("apis", 3): parts[1].isEmpty ? nil : discovery.resources(group: parts[1], version: parts[2])
    default: nil
    }
  }

  private static func form(_ request: HTTPRequest, allowsAggregated: Bool) throws(APIStatus) -> Form {
    let accept = request.headers["accept"] ?? ""
    for range in accept.split(separator: ",").prefix(16) where allowsAggregated {
      let type = MediaType(range)
      guard type.type == "application/json" else { continue }
      guard type.parameters["as"] == "APIGroupDiscoveryList" else { break }
      if type.parameters["g"] == "apidiscovery.k8s.io",
        let version = Discovery.AggregatedVersion(rawValue: type.parameters["v"] ?? "")
      {
        return .aggregated(version)
      }
    }
    let negotiated = try Negotiated(accept: accept, allowsForms: false)
    // These documents have no protobuf form here; who takes it takes JSON as well.
    return .plain(negotiated.encoding == .protobuf ? .json : negotiated.encoding)
  }
}
