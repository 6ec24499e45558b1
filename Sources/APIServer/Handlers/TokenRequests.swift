import HTTPServer
import JSON
import KubeModel
import KubeSchema
import KubeValidation
import ObjectStore
import PKI

/// `serviceaccounts/token`: a token for an account, for a time and an audience, bound to what it is for.
///
/// https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/
extension APIServer {
  /// Bounds of a token's life, in seconds.
  private static let tokenSecondsMin: Int64 = 600
  private static let tokenSecondsMax: Int64 = 1 << 32
  private static let tokenSecondsUsual: Int64 = 3600

  func requestToken(_ context: RequestContext) async throws(APIStatus) -> HTTPResponse {
    guard let stored = store.get(context.key) else { throw context.notFound() }
    let account = ObjectMetadata(
      try document(AnsweredObject(value: stored.value, revision: stored.revision), context.resource))
    let options = try WriteOptions(context.query, kind: "CreateOptions")
    guard let type = schema.type(apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest") else {
      throw .internalError("token: the table has no TokenRequest")
    }
    let read = try checked(
      try parse(try await body(context.request), try Self.encoding(context.request), kind: "TokenRequest"),
      apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", type: type, options.fieldValidation)
    var request = read.object
    let metadata = ObjectMetadata(request)
    guard metadata.name.isEmpty || metadata.name == account.name else {
      throw .badRequest(
        "the name of the object (\(metadata.name)) does not match the name on the URL (\(account.name))")
    }
    guard metadata.namespace.isEmpty || metadata.namespace == account.namespace else {
      throw .badRequest("the namespace of the provided object does not match the namespace sent on the request")
    }
    var spec = request[object: "spec"]
    let seconds = try Self.seconds(spec, name: account.name)
    var audiences = spec["audiences"]?.array?.compactMap(\.string) ?? []
    if audiences.isEmpty { audiences = access.tokens.audiences }
    let bound = try boundClaims(spec["boundObjectRef"]?.object, account, context)
    let claims = tokenClaims(account, audiences: audiences, seconds: seconds, bound: bound, context.now)
    spec["audiences"] = JSONValue(audiences)
    spec["expirationSeconds"] = .integer(seconds)
    request["spec"] = .object(spec)
    request["metadata"] = [
      "name": .string(account.name), "namespace": .string(account.namespace),
      "creationTimestamp": .string(ObjectNames.time(context.now)),
    ]
    var token = ""
    if !options.isDryRun {
      do throws(PKIError) {
        token = try access.tokens.keys.sign(claims)
      } catch {
        throw .internalError("failed to generate token: \(error)")
      }
    }
    request["status"] = [
      "token": .string(token), "expirationTimestamp": .string(ObjectNames.time(context.now + seconds)),
    ]
    var response = encoded(.object(request), context.negotiated.encoding, code: 201)
    for warning in read.warnings { response.headers.add("Warning", Self.warningHeader(warning)) }
    return response
  }

  private static func seconds(_ spec: JSONObject, name: String) throws(APIStatus) -> Int64 {
    guard let seconds = spec["expirationSeconds"]?.integer else { return tokenSecondsUsual }
    let problem =
      seconds < tokenSecondsMin
      ? "may not specify a duration less than 10 minutes"
      : seconds > tokenSecondsMax ? "may not specify a duration larger than 2^32 seconds" : nil
    guard let problem else { return seconds }
    throw .invalid(
      kind: "TokenRequest", group: "authentication.k8s.io", name: name,
      errors: [.init(path: "spec.expirationSeconds", reason: .invalid, value: .integer(seconds), detail: problem)])
  }

  private func tokenClaims(
    _ account: ObjectMetadata, audiences: [String], seconds: Int64, bound: JSONObject, _ now: Int64
  ) -> JSONObject {
    var private_: JSONObject = ["namespace": .string(account.namespace)]
    for member in bound.members { private_[member.key] = member.value }
    private_["serviceaccount"] = ["name": .string(account.name), "uid": .string(account.uid)]
    return [
      "aud": JSONValue(audiences), "exp": .integer(now + seconds), "iat": .integer(now),
      "iss": .string(access.tokens.issuer), "jti": .string(ObjectNames.uid()),
      TokenAuthority.claimsKey: .object(private_), "nbf": .integer(now),
      "sub": .string(TokenAuthority.userName(account.namespace, account.name)),
    ]
  }

  /// What the token is bound to, as its claims name it: a pod and its node, a Secret, or a node.
  private func boundClaims(
    _ reference: JSONObject?, _ account: ObjectMetadata, _ context: RequestContext
  ) throws(APIStatus) -> JSONObject {
    let node = context.user.nodeName
    guard let reference else {
      if node != nil {
        throw .forbidden(tokenResource, account.name, "node requested token not bound to a pod")
      }
      return [:]
    }
    let (kind, apiVersion, name) = (reference.text("kind"), reference.text("apiVersion"), reference.text("name"))
    guard ["Pod", "Secret", "Node"].contains(kind), apiVersion == "v1" else {
      throw .badRequest("cannot bind token to object of type \(apiVersion), Kind=\(kind)")
    }
    let plural = kind == "Pod" ? "pods" : kind == "Secret" ? "secrets" : "nodes"
    let key = kind == "Node" ? "/nodes/\(name)" : "/\(plural)/\(account.namespace)/\(name)"
    guard !name.isEmpty, !name.contains("/"), let object = access.reader.object(key) else {
      throw .notFound(QualifiedResource(group: "", resource: plural), name)
    }
    let uid = object.text("metadata", "uid")
    let given = reference.text("uid")
    guard given.isEmpty || given == uid else {
      throw .conflict(
        QualifiedResource(group: "", resource: plural), name,
        "the UID in the bound object reference (\(given)) does not match the UID in record. The object might have "
          + "been deleted and then recreated")
    }
    let claim: JSONValue = ["name": .string(name), "uid": .string(uid)]
    if let node { try checkNodeRequest(node, kind, object, given: given, account) }
    guard kind == "Pod" else { return [kind.lowercased(): claim] }
    guard object.text("spec", "serviceAccountName") == account.name else {
      throw .badRequest(
        "cannot bind token for serviceaccount \"\(account.name)\" to pod running with different serviceaccount name.")
    }
    var claims: JSONObject = [:]
    let host = object.text("spec", "nodeName")
    if !host.isEmpty {
      var place: JSONObject = ["name": .string(host)]
      if let found = access.reader.object("/nodes/\(host)") { place["uid"] = .string(found.text("metadata", "uid")) }
      claims["node"] = .object(place)
    }
    claims["pod"] = claim
    return claims
  }

  private var tokenResource: QualifiedResource { QualifiedResource(group: "", resource: "serviceaccounts") }

  /// A node asks for tokens of its own pods only.
  private func checkNodeRequest(
    _ node: String, _ kind: String, _ object: JSONValue, given: String, _ account: ObjectMetadata
  ) throws(APIStatus) {
    guard kind == "Pod" else {
      throw .forbidden(tokenResource, account.name, "node requested token not bound to a pod")
    }
    guard !given.isEmpty else {
      throw .forbidden(
        tokenResource, account.name,
        "pod reference without a uid: node requested token with a pod binding without a uid")
    }
    guard object.text("spec", "nodeName") == node else {
      throw .forbidden(
        tokenResource, account.name, "node requested token bound to a pod scheduled on a different node")
    }
  }
}
