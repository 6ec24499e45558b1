import HTTPServer
import JSON
import KubeModel
import PKI

/// Who somebody is: TokenReview for others, SelfSubjectReview for oneself, and what others need to check tokens themselves.
///
/// https://kubernetes.io/docs/reference/access-authn-authz/authentication/
extension APIServer {
  /// `authentication.k8s.io`. Nothing is stored.
  func identityReview(_ context: RequestContext) async throws(APIStatus) -> HTTPResponse {
    guard context.info.name.isEmpty else { throw .methodNotAllowed(context.resource.qualified) }
    let read = try await question(context)
    var answer = read.object
    if context.resource.type.plural == "selfsubjectreviews" {
      answer["metadata"] = ["creationTimestamp": .string(ObjectNames.time(context.now))]
      answer["status"] = ["userInfo": context.user.json]
    } else {
      answer["status"] = .object(try tokenReview(answer[object: "spec"]))
    }
    var response = encoded(.object(answer), context.negotiated.encoding, code: 201)
    for warning in read.warnings { response.headers.add("Warning", Self.warningHeader(warning)) }
    return response
  }

  private func tokenReview(_ spec: JSONObject) throws(APIStatus) -> JSONObject {
    let token = spec.text("token")
    guard !token.isEmpty else { throw .badRequest("token is required for TokenReview in authentication") }
    let audiences = spec["audiences"]?.array?.compactMap(\.string) ?? []
    do throws(TokenRefusal) {
      let found = try access.tokens.authenticate(token, audiences: audiences.isEmpty ? nil : audiences)
      return ["authenticated": true, "user": found.user.json, "audiences": JSONValue(found.audiences)]
    } catch {
      return ["user": [:], "error": .string("[invalid bearer token, \(error)]")]
    }
  }

  /// `/.well-known/openid-configuration` and `/openid/v1/jwks`: OpenID Connect Discovery 1.0 of the issuer.
  func identityDocument(_ parts: [String]) -> HTTPResponse {
    switch parts {
    case [".well-known", "openid-configuration"]:
      let document: JSONValue = [
        "issuer": .string(access.tokens.issuer),
        "jwks_uri": .string("https://\(documents.serverAddress)/openid/v1/jwks"),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
      ]
      return Self.identityDocument(document, type: "application/json")
    case ["openid", "v1", "jwks"]:
      return Self.identityDocument(access.tokens.keys.publicKeys, type: "application/jwk-set+json")
    default: return Self.pageNotFound
    }
  }

  private static func identityDocument(_ document: JSONValue, type: String) -> HTTPResponse {
    HTTPResponse(
      status: 200, headers: ["Content-Type": type, "Cache-Control": "public, max-age=3600"],
      body: .bytes(document.encoded()))
  }
}
