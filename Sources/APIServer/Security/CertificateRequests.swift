import HTTPServer
import JSON
import KubeModel
import KubeSchema
import KubeValidation
import PKI

/// What the server itself does with CertificateSigningRequests: it says who asks, and lets those approve who may.
///
/// https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
extension APIServer {
  static let certificateGroup = "certificates.k8s.io"

  /// What security adds to an object, or refuses, before it is validated. - Parameter old: nil for a creation.
  func prepareAccess(_ object: inout JSONObject, old: JSONObject?, _ context: RequestContext) throws(APIStatus) {
    try checkEscalation(object, old: old, context)
    guard context.resource.type.group == Self.certificateGroup,
      context.resource.type.plural == "certificatesigningrequests"
    else { return }
    if let old {
      // What was asked for, and by whom, stays.
      object["spec"] = old["spec"]
      return
    }
    var spec = object[object: "spec"]
    for key in ["username", "uid", "groups", "extra"] { spec[key] = nil }
    for (key, value) in context.user.json.object?.members ?? [] { spec[key] = value }
    object["spec"] = .object(spec)
    object["status"] = [:]
    let name = ObjectMetadata(object).name
    let request: SigningRequest
    do throws(PKIError) {
      request = try SigningRequest(pem: Base64Bytes.decoded(spec.text("request")) ?? [])
    } catch {
      throw .invalid(
        kind: context.resource.kind, group: Self.certificateGroup, name: name,
        errors: [.init(path: "spec.request", reason: .invalid, value: "", detail: "\(error)")])
    }
    if spec.text("signerName") == "kubernetes.io/kube-apiserver-client",
      request.organizations.contains(UserInfo.mastersGroup)
    {
      throw .forbidden(
        context.resource.qualified, name,
        "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed")
    }
  }

  private static let conditionsMax = 16

  /// PUT and PATCH of `approval`: the conditions of the request's status, and nothing else.
  func approve(_ context: RequestContext) async throws(APIStatus) -> HTTPResponse {
    let isPatch = context.info.verb == "patch"
    let options = try WriteOptions(context.query, kind: isPatch ? "PatchOptions" : "UpdateOptions")
    var replacement: JSONValue?
    var patch: (JSONValue, PatchType)?
    if isPatch {
      let patchType = try Self.patchType(context.request)
      patch = (try await patchDocument(context.request, patchType), patchType)
    } else {
      replacement = try parse(
        try await body(context.request), try Self.encoding(context.request), kind: context.resource.kind)
    }
    var warnings: [String] = []
    let updated = try await change(context, .everything, isDryRun: options.isDryRun) { old throws(APIStatus) in
      var wanted = replacement ?? .object(old)
      if let (patch, patchType) = patch {
        wanted = try Self.patched(old, patch, patchType, context.resource.schema, self.schema)
      }
      let read = try self.checked(
        wanted, apiVersion: context.resource.type.apiVersion, kind: context.resource.kind,
        type: context.resource.schema, options.fieldValidation)
      warnings = read.warnings
      return try self.approved(old, read.object, context)
    }
    return try answer(updated, context, warnings: warnings)
  }

  private func approved(
    _ old: JSONObject, _ wanted: JSONObject, _ context: RequestContext
  ) throws(APIStatus) -> JSONObject {
    let signer = old[object: "spec"].text("signerName")
    guard access.authorizer.maySign("approve", for: signer, context.user) else {
      throw .forbidden(
        context.resource.qualified, context.info.name,
        "user not permitted to approve requests with signerName \"\(signer)\"")
    }
    let before = old[object: "status"]["conditions"]?.array ?? []
    var conditions: [JSONValue] = []
    for condition in wanted[object: "status"]["conditions"]?.array ?? [] {
      guard var object = condition.object else { continue }
      let known = before.first { $0.text("type") == object.text("type") }
      let now = JSONValue.string(ObjectNames.time(context.now))
      object.setDefault("lastUpdateTime", now)
      object.setDefault("lastTransitionTime", known?["lastTransitionTime"] ?? now)
      object.setDefault("status", "True")
      conditions.append(.object(object))
    }
    var errors: [FieldError] = []
    let types = conditions.map { $0.text("type") }
    let path = "status.conditions"
    if Set(types).count != types.count {
      errors.append(.init(path: path, reason: .duplicate, value: JSONValue(types)))
    }
    if types.contains("Approved"), types.contains("Denied") {
      errors.append(
        .init(
          path: path, reason: .invalid, value: "Denied", detail: "Approved and Denied conditions are mutually exclusive"
        ))
    }
    if types.contains("") { errors.append(.init(path: "\(path).type", reason: .required)) }
    for condition in before where ["Approved", "Denied", "Failed"].contains(condition.text("type")) {
      if !types.contains(condition.text("type")) {
        errors.append(
          .init(
            path: path, reason: .forbidden,
            detail: "updates may not remove a condition of type \"\(condition.text("type"))\""))
      }
    }
    if conditions.count > Self.conditionsMax {
      errors.append(.init(path: path, reason: .tooMany, value: .integer(Int64(conditions.count))))
    }
    if !errors.isEmpty {
      throw .invalid(
        kind: context.resource.kind, group: Self.certificateGroup, name: context.info.name, errors: errors)
    }
    var result = old
    result[object: "status"]["conditions"] = .array(conditions)
    // The revision that the client saw, so that a stale one conflicts.
    let revision = wanted[object: "metadata"].text("resourceVersion")
    if !revision.isEmpty { result[object: "metadata"]["resourceVersion"] = .string(revision) }
    return result
  }
}
