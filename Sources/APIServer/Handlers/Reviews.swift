import HTTPServer
import JSON
import KubeModel
import KubeValidation

/// What a user asks about what they may do: `kubectl auth can-i`. Nothing is stored.
///
/// https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
extension APIServer {
  func review(_ context: RequestContext) async throws(APIStatus) -> HTTPResponse {
    guard context.info.name.isEmpty else { throw .methodNotAllowed(context.resource.qualified) }
    let options = try WriteOptions(context.query, kind: "CreateOptions")
    let type = context.resource.type
    let encoding = try Self.encoding(context.request)
    let bytes = try await body(context.request)
    let read = try checked(
      try parse(bytes, encoding, kind: type.kind), apiVersion: type.apiVersion, kind: type.kind,
      type: context.resource.schema, options.fieldValidation)
    var answer = read.object
    let spec = answer[object: "spec"]
    answer["status"] =
      switch type.plural {
      case "selfsubjectaccessreviews": .object(try accessReview(spec, context))
      default: .object(try rulesReview(spec, context))
      }
    var response = encoded(.object(answer), context.negotiated.encoding, code: 201)
    for warning in read.warnings { response.headers.add("Warning", Self.warningHeader(warning)) }
    return response
  }

  private func accessReview(_ spec: JSONObject, _ context: RequestContext) throws(APIStatus) -> JSONObject {
    let (resource, path) = (spec["resourceAttributes"]?.object, spec["nonResourceAttributes"]?.object)
    guard (resource == nil) != (path == nil) else {
      throw .invalid(
        kind: context.resource.kind, group: context.resource.type.group, name: "",
        errors: [
          resource == nil
            ? .init(
              path: "spec.resourceAttributes", reason: .invalid, value: .null,
              detail: "exactly one of nonResourceAttributes or resourceAttributes must be specified")
            : .init(
              path: "spec.nonResourceAttributes", reason: .invalid, value: .null,
              detail: "cannot be specified in combination with resourceAttributes")
        ])
    }
    var asked = AccessAttributes(verb: (resource ?? path ?? [:]).text("verb"))
    if let path { asked.path = path.text("path") }
    if let resource {
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
    }
    do throws(AccessRefusal) {
      try access.check(context.user, asked)
      return ["allowed": true]
    } catch {
      return ["allowed": false, "reason": .string(error.message)]
    }
  }

  /// What can be said without a question: everything for administrators; what a node may depends on its pods.
  private func rulesReview(_ spec: JSONObject, _ context: RequestContext) throws(APIStatus) -> JSONObject {
    guard !spec.text("namespace").isEmpty else { throw .badRequest("no namespace on request") }
    if context.user.groups.contains(UserInfo.mastersGroup) {
      return [
        "resourceRules": [["verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]]],
        "nonResourceRules": [["verbs": ["*"], "nonResourceURLs": ["*"]]], "incomplete": false,
      ]
    }
    var status: JSONObject = [
      "resourceRules": [
        [
          "verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
          "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        ]
      ],
      "nonResourceRules": [
        [
          "verbs": ["get"],
          "nonResourceURLs": JSONValue(Authorizer.pathsForEverybody.flatMap { ["/\($0)", "/\($0)/*"] }),
        ]
      ],
      "incomplete": .bool(context.user.nodeName != nil),
    ]
    if context.user.nodeName != nil {
      status["evaluationError"] = "node authorizer does not support user rule resolution"
    }
    return status
  }
}
