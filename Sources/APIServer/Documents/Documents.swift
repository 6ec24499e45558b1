import HTTPServer
import JSON
import KubePresentation
import KubeSchema
import ObjectStore
import Synchronization
import YAML

/// The documents that are no objects: version, health, discovery, schemas.
package final class Documents: Sendable {
  static let gitVersion = "v1.36.0+martlet"

  private let version: [UInt8]
  let cache = DocumentCache()
  let discovery: Discovery
  let openAPI: OpenAPI
  let serverAddress: String

  /// The documents without those of definitions, and the names of those that are the same with them.
  let beyond: (documents: Documents, names: Set<String>)?

  /// - Parameters:
  ///   - rows: what definitions add to the table.
  ///   - kinds: theirs.
  ///   - table: the documents without them.
  init(
    _ schema: Schema, _ configuration: APIServerConfiguration, adding rows: [ResourceRow] = [],
    _ kinds: [CustomKind] = [], beyond table: Documents? = nil
  ) {
    discovery = Discovery(schema.adding(UsageMetrics.rows + rows))
    openAPI = OpenAPI(schema.adding(rows), version: Self.gitVersion, custom: kinds)
    let changed = Set(rows.map { "apis/\($0.apiVersion)" })
    beyond = table.map { ($0, Set($0.openAPI.v3Names).subtracting(changed)) }
    serverAddress = "\(configuration.advertiseAddress):\(configuration.securePort)"
    let document: JSONValue = [
      "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1",
      "minCompatibilityMinor": "35", "gitVersion": .string(Self.gitVersion), "gitCommit": "", "gitTreeState": "clean",
      "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "swift", "platform": .string(Self.platform),
    ]
    version = document.encoded(pretty: true)
  }

  private static var platform: String {
    #if arch(arm64)
      "linux/arm64"
    #else
      "linux/amd64"
    #endif
  }

  /// Paths that need no credentials: whether the server lives, and which it is.
  func isPublic(_ path: String) -> Bool {
    ["/healthz", "/livez", "/readyz", "/version", "/cacerts"].contains { path == $0 || path.hasPrefix("\($0)/") }
  }

  static func encoded(_ document: JSONValue, _ encoding: Encoding) -> [UInt8] {
    encoding == .yaml ? Array(YAML.encoded(document).utf8) : document.encoded()
  }

  /// The paths that are served besides the resources.
  func rootPaths() -> HTTPResponse {
    var paths = [
      "/.well-known/openid-configuration", "/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2",
      "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version",
    ]
    paths += openAPI.v3Names.map { "/\($0)" }
    let document: JSONValue = ["paths": JSONValue(paths.sorted())]
    return HTTPResponse(
      status: 200, headers: ["Content-Type": "application/json", "Cache-Control": APIServer.uncached],
      body: .bytes(document.encoded(pretty: true)))
  }

  func versionResponse() -> HTTPResponse {
    HTTPResponse(
      status: 200, headers: ["Content-Type": "application/json", "Cache-Control": APIServer.uncached],
      body: .bytes(version))
  }
}

extension APIServer {
  /// What is answered below paths that are no resources.
  func document(_ request: HTTPRequest, _ info: RequestInfo) async throws(APIStatus) -> HTTPResponse {
    let parts = info.path.split(separator: "/").map(String.init)
    guard request.method == "GET" || request.method == "HEAD" else {
      guard
        parts.isEmpty
          || ["api", "apis", "version", "healthz", "livez", "readyz", "metrics", "openapi"].contains(parts[0])
      else { return Self.pageNotFound }
      throw .methodNotAllowed()
    }
    switch parts.first {
    case "version" where parts.count == 1: return documents.versionResponse()
    case "healthz", "livez", "readyz": return health(parts, request)
    case "metrics" where parts.count == 1: return metricsResponse()
    // Nobody is known to who asks for this: it is held against a hash that came another way.
    case "cacerts" where parts.count == 1: return .text(configuration.authorityPEM)
    case ".well-known", "openid": return identityDocument(parts)
    case "api", "apis": return try documents.discovery(parts, request) ?? Self.pageNotFound
    case "openapi":
      // Made and compressed when it is first asked for: not on the event loop.
      let documents = documents
      let answer = await offLoop { () async -> Result<HTTPResponse?, APIStatus> in
        do throws(APIStatus) { return .success(try documents.schema(parts, request)) } catch { return .failure(error) }
      }
      return try answer.get() ?? Self.pageNotFound
    case nil: return documents.rootPaths()
    default: return Self.pageNotFound
    }
  }

  /// The checks of health, each with what is wrong with it; nil: fine.
  private var checks: [(name: String, problem: String?)] {
    [("ping", nil), ("store", store.get("/namespaces/default") == nil ? "the first objects are not there yet" : nil)]
  }

  /// `/readyz`, `/readyz/CHECK`, `/readyz?verbose`.
  private func health(_ parts: [String], _ request: HTTPRequest) -> HTTPResponse {
    let endpoint = parts[0]
    let checks = checks.filter { $0.name == "ping" || endpoint == "readyz" }
    if parts.count == 2 {
      guard let check = checks.first(where: { $0.name == parts[1] }) else { return Self.pageNotFound }
      return check.problem.map { .text("\($0)\n", status: 500) } ?? .text("ok")
    }
    guard parts.count == 1 else { return Self.pageNotFound }
    let excluded = Set(request.query.all("exclude"))
    let failed = checks.contains { $0.problem != nil && !excluded.contains($0.name) }
    var text = ""
    if failed || request.query["verbose"] != nil {
      for check in checks {
        if excluded.contains(check.name) {
          text += "[+]\(check.name) excluded: ok\n"
        } else {
          text += check.problem == nil ? "[+]\(check.name) ok\n" : "[-]\(check.name) failed: reason withheld\n"
        }
      }
      text += failed ? "\(endpoint) check failed\n" : "\(endpoint) check passed\n"
    } else {
      text = "ok"
    }
    var response = HTTPResponse.text(text, status: failed ? 500 : 200)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
  }
}
