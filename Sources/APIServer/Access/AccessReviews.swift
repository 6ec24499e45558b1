import HTTPServer
import JSON
import KubeModel
import KubeValidation

/// What a user asks about what somebody may do: `kubectl auth can-i`. Nothing is stored.
///
/// https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
extension APIServer {
  func review(_ context: RequestContext) async throws(APIStatus) -> HTTPResponse {
    guard context.info.name.isEmpty else { throw .methodNotAllowed(context.resource.qualified) }
    let read = try await question(context)
    var answer = read.object
    let spec = answer[object: "spec"]
    let type = context.resource.type
    switch type.plural {
    case "selfsubjectrulesreviews": answer["status"] = .object(try rulesReview(spec, context))
    case "selfsubjectaccessreviews":
      answer["status"] = .object(try accessReview(spec, of: context.user, [], context))
    default:
      // About somebody else; the local one about a namespace.
      var errors: [FieldError] = []
      let user = Self.user(spec)
      if user.name.isEmpty, user.groups.isEmpty {
        errors.append(
          .init(
            path: "spec.user", reason: .invalid, value: "", detail: "at least one of user or group must be specified"))
      }
      if type.plural == "localsubjectaccessreviews" {
        guard let resource = spec["resourceAttributes"]?.object else {
          throw .badRequest("spec.resourceAttributes: a local review is about resources of its namespace")
        }
        guard resource.text("namespace") == context.namespace else {
          throw .badRequest(
            "spec.resourceAttributes.namespace must match namespace: \(context.namespace)")
        }
      }
      answer["status"] = .object(try accessReview(spec, of: user, errors, context))
    }
    var response = encoded(.object(answer), context.negotiated.encoding, code: 201)
    for warning in read.warnings { response.headers.add("Warning", Self.warningHeader(warning)) }
    return response
  }

  /// The document of a request that asks and stores nothing.
  func question(_ context: RequestContext) async throws(APIStatus) -> ReadDocument {
    let options = try WriteOptions(context.query, kind: "CreateOptions")
    let type = context.resource.type
    let encoding = try Self.encoding(context.request)
    let bytes = try await body(context.request)
    return try checked(
      try parse(bytes, encoding, kind: type.kind), apiVersion: type.apiVersion, kind: type.kind,
      type: context.resource.schema, options.fieldValidation)
  }

  private static func user(_ spec: JSONObject) -> UserInfo {
    var extra: [String: [String]] = [:]
    for member in spec[object: "extra"].members { extra[member.key] = member.value.array?.compactMap(\.string) }
    return UserInfo(
      name: spec.text("user"), groups: spec["groups"]?.array?.compactMap(\.string) ?? [], uid: spec.text("uid"),
      extra: extra)
  }

  private func accessReview(
    _ spec: JSONObject, of user: UserInfo, _ problems: [FieldError], _ context: RequestContext
  ) throws(APIStatus) -> JSONObject {
    let (resource, path) = (spec["resourceAttributes"]?.object, spec["nonResourceAttributes"]?.object)
    var errors = problems
    if resource == nil, path == nil {
      errors.append(
        .init(
          path: "spec.resourceAttributes", reason: .invalid, value: .null,
          detail: "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
    }
    if resource != nil, path != nil {
      errors.append(
        .init(
          path: "spec.nonResourceAttributes", reason: .invalid, value: .null,
          detail: "cannot be specified in combination with resourceAttributes"))
    }
    if !errors.isEmpty {
      throw .invalid(kind: context.resource.kind, group: context.resource.type.group, name: "", errors: errors)
    }
    let decision = access.authorizer.decide(user, Self.attributes(resource, path))
    var status: JSONObject = ["allowed": .bool(decision.isAllowed)]
    if !decision.reason.isEmpty { status["reason"] = .string(decision.reason) }
    return status
  }

  private static func attributes(_ resource: JSONObject?, _ path: JSONObject?) -> AccessAttributes {
    var asked = AccessAttributes(verb: (resource ?? path ?? [:]).text("verb"))
    if let path { asked.path = path.text("path") }
    guard let resource else { return asked }
    asked.group = resource.text("group")
    asked.version = resource.text("version")
    asked.resource = resource.text("resource")
    asked.subresource = resource.text("subresource")
    asked.namespace = resource.text("namespace")
    asked.name = resource.text("name")
    for requirement in resource["fieldSelector"]?["requirements"]?.array ?? []
    where requirement.text("operator") == "In" && requirement["values"]?.array?.count == 1 {
      let value = requirement["values"]?[0]?.string ?? ""
      switch requirement.text("key") {
      case "metadata.name": asked.nameSelector = value
      case "spec.nodeName": asked.nodeSelector = value
      default: continue
      }
    }
    return asked
  }

  /// What can be said without a question; what a node may depends on its pods.
  private func rulesReview(_ spec: JSONObject, _ context: RequestContext) throws(APIStatus) -> JSONObject {
    let namespace = spec.text("namespace")
    guard !namespace.isEmpty else { throw .badRequest("no namespace on request") }
    var rules = access.authorizer.roles?.rules(of: context.user, namespace: namespace) ?? []
    if context.user.groups.contains(UserInfo.mastersGroup) {
      rules = [
        RoleRule(["verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]]),
        RoleRule(["verbs": ["*"], "nonResourceURLs": ["*"]]),
      ]
    }
    var status: JSONObject = [
      "resourceRules": .array(rules.filter { $0.paths.isEmpty }.map(\.json)),
      "nonResourceRules": .array(rules.filter { !$0.paths.isEmpty }.map(\.json)),
      "incomplete": .bool(context.user.nodeName != nil),
    ]
    if context.user.nodeName != nil {
      status["evaluationError"] = "node authorizer does not support user rule resolution"
    }
    return status
  }
}
