import CEL
import JSON
import KubeModel
import ObjectStore

/// Policies: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
extension APIServer {
  /// What expressions are about: the objects, the request, and who asks.
  func expressionVariables(
    _ object: JSONObject?, old: JSONObject?, _ operation: String, _ context: RequestContext
  ) -> [String: CELValue] {
    var request = admissionRequest(operation, object, old: old, context)
    for key in ["object", "oldObject"] { request[key] = nil }
    let authorizer = AdmissionAuthorizer(user: context.user, authorizer: access.authorizer)
    return [
      "object": object.map { CELValue(whole($0, context)) } ?? .null,
      "oldObject": old.map { CELValue(whole($0, context)) } ?? .null,
      "request": CELValue(.object(request)), "authorizer": .host(authorizer),
    ]
  }

  /// - Throws: what the first policy that refuses says.
  func checkPolicies(
    _ object: JSONObject?, old: JSONObject?, _ operation: String, _ context: RequestContext
  ) throws(APIStatus) {
    let state = policies.current
    guard !state.bindings.isEmpty, !Self.unaskedGroups.contains(context.resource.type.group) else { return }
    let action = admissionAction(operation, object, old: old, context)
    let name = (object ?? old).map { ObjectMetadata($0).name } ?? context.info.name
    var common: [String: CELValue]?
    var denials: [PolicyFailure] = []
    for binding in state.bindings {
      guard let read = state.policies[binding.policy] else { continue }
      guard case .success(let policy) = read else {
        // Its expressions were read when it was made; what is stored otherwise is not let through.
        denials.append(
          PolicyFailure(
            policy: binding.policy, binding: binding.name, message: "its expressions cannot be read",
            reason: "Invalid", index: nil))
        continue
      }
      guard policy.match.concerns(action, name, isBinding: false),
        binding.match.concerns(action, name, isBinding: true)
      else { continue }
      let variables = common ?? policyVariables(object, old: old, operation, context)
      common = variables
      let failures = failures(of: policy, binding, variables, context)
      tell(failures, binding, context)
      if binding.actions.contains("Deny") { denials += failures }
    }
    if let first = denials.first { throw Self.refusal(first, name, context) }
  }

  private func policyVariables(
    _ object: JSONObject?, old: JSONObject?, _ operation: String, _ context: RequestContext
  ) -> [String: CELValue] {
    var variables = expressionVariables(object, old: old, operation, context)
    let isNamespace = context.resource.type.group.isEmpty && context.resource.type.plural == "namespaces"
    let namespace =
      context.resource.type.isNamespaced
      ? store.get("/namespaces/\(context.namespace)").flatMap { try? JSONValue.parse($0.value) }
      : isNamespace ? (object ?? old).map { .object($0) } : nil
    variables["namespaceObject"] = namespace.map { CELValue($0) } ?? .null
    return variables
  }

  // MARK: one policy

  private func failures(
    of policy: AdmissionPolicy, _ binding: PolicyBinding, _ common: [String: CELValue], _ context: RequestContext
  ) -> [PolicyFailure] {
    func failed(_ message: String, _ reason: String = "Invalid", _ index: Int? = nil) -> PolicyFailure {
      PolicyFailure(policy: policy.name, binding: binding.name, message: message, reason: reason, index: index)
    }
    func broken(_ message: String) -> [PolicyFailure] { policy.isIgnoredOnFailure ? [] : [failed(message)] }
    var found: [PolicyFailure] = []
    let params: [CELValue]
    do throws(PolicyParamsProblem) {
      params = try self.params(of: policy, binding, context)
    } catch {
      return broken("failed to configure binding: \(error.message)")
    }
    for param in params {
      var variables = common
      variables["params"] = param
      switch AdmissionExpressions.concern(policy.conditions, variables) {
      case .success(false): continue
      case .success(true): break
      case .failure(let problem):
        found += broken("\(problem)")
        continue
      }
      var budget = AdmissionExpressions.budget
      variables["variables"] = Self.composed(policy, variables, &budget)
      for (index, validation) in policy.validations.enumerated() {
        switch Self.verdict(validation, variables, &budget) {
        case .success(nil): break
        case .success(let message?): found.append(failed(message, validation.reason, index))
        case .failure(let problem):
          found += broken("expression '\(validation.program.source)' resulted in error: \(problem)")
        }
      }
      annotate(policy, variables, &budget, context)
    }
    return found
  }

  /// The policy's own variables: each may name those before it. One that fails does so for whom names it.
  private static func composed(
    _ policy: AdmissionPolicy, _ common: [String: CELValue], _ budget: inout Int
  ) -> CELValue {
    var (map, variables) = (CELMap(), common)
    for variable in policy.variables {
      variables["variables"] = .map(map)
      do throws(CELProblem) {
        map[variable.name] = try variable.program.evaluate(variables, budget: &budget)
      } catch {
        map[variable.name] = .failed(
          CELProblem(error.reason, "composited variable \"\(variable.name)\" fails to evaluate: \(error)"))
      }
    }
    return .map(map)
  }

  /// - Returns: nil where it holds, otherwise what it says.
  private static func verdict(
    _ validation: AdmissionPolicy.Validation, _ variables: [String: CELValue], _ budget: inout Int
  ) -> Result<String?, CELProblem> {
    do throws(CELProblem) {
      let value = try validation.program.evaluate(variables, budget: &budget)
      guard let holds = value.bool else { return .failure(CELProblem(.evaluation, "it is no bool")) }
      if holds { return .success(nil) }
    } catch {
      return .failure(error)
    }
    if let program = validation.messageProgram,
      let text = try? program.evaluate(variables, budget: &budget).string,
      text.contains(where: { !$0.isWhitespace }), !text.contains(where: \.isNewline), text.utf8.count <= messageMax
    {
      return .success(text)
    }
    let message = validation.message
    return .success(message.isEmpty ? "failed expression: \(validation.program.source)" : message)
  }

  /// Bytes of a message that an expression makes.
  private static let messageMax = 5 << 10
  /// Bytes of an annotation of the audit log.
  private static let annotationMax = 10 << 10

  private func annotate(
    _ policy: AdmissionPolicy, _ variables: [String: CELValue], _ budget: inout Int, _ context: RequestContext
  ) {
    for annotation in policy.annotations {
      guard let text = try? annotation.program.evaluate(variables, budget: &budget).string, !text.isEmpty else {
        continue
      }
      context.notes.annotate("\(policy.name)/\(annotation.name)", String(text.prefix(Self.annotationMax)))
    }
  }

  // MARK: what is told

  private func tell(_ failures: [PolicyFailure], _ binding: PolicyBinding, _ context: RequestContext) {
    if binding.actions.contains("Warn") {
      for failure in failures {
        context.notes.warn(
          "Validation failed for ValidatingAdmissionPolicy '\(failure.policy)' with binding '\(failure.binding)': "
            + failure.message)
      }
    }
    guard binding.actions.contains("Audit"), !failures.isEmpty else { return }
    let told = failures.map { failure -> JSONValue in
      var object: JSONObject = [
        "message": .string(failure.message), "policy": .string(failure.policy), "binding": .string(failure.binding),
        "validationActions": JSONValue(binding.actions.sorted()),
      ]
      if let index = failure.index { object["expressionIndex"] = .integer(Int64(index)) }
      return .object(object)
    }
    context.notes.annotate(
      "validation.policy.admission.k8s.io/validation_failure", JSONValue.array(told).encodedString(), appends: true)
  }

  private static let codes = [
    "Unauthorized": 401, "Forbidden": 403, "Invalid": 422, "RequestEntityTooLarge": 413,
  ]

  private static func refusal(_ failure: PolicyFailure, _ name: String, _ context: RequestContext) -> APIStatus {
    let message =
      "ValidatingAdmissionPolicy '\(failure.policy)' with binding '\(failure.binding)' denied request: \(failure.message)"
    var status = APIStatus.forbidden(context.resource.qualified, name, message)
    status.code = codes[failure.reason] ?? 422
    status.reason = failure.reason
    status.details?.causes = [.init(message: message)]
    return status
  }
}

/// Why a binding's parameters cannot be had.
private struct PolicyParamsProblem: Error {
  let message: String
}

extension APIServer {
  /// Parameters with which one policy is evaluated.
  private static let paramsMax = 100

  /// What a policy is evaluated with, once for each: null where it takes nothing.
  private func params(
    of policy: AdmissionPolicy, _ binding: PolicyBinding, _ context: RequestContext
  ) throws(PolicyParamsProblem) -> [CELValue] {
    guard let kind = policy.paramKind, let reference = binding.params else { return [.null] }
    guard let resource = resources.all.first(where: { $0.type.apiVersion == kind.apiVersion && $0.kind == kind.kind })
    else {
      throw PolicyParamsProblem(
        message: "failed to find resource referenced by paramKind: '\(kind.apiVersion), Kind=\(kind.kind)'")
    }
    let given = reference.text("namespace")
    let namespace = given.isEmpty ? context.namespace : given
    if resource.type.isNamespaced, namespace.isEmpty {
      throw PolicyParamsProblem(
        message: "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
    }
    var found: [CELValue] = []
    let name = reference.text("name")
    if !name.isEmpty {
      let stored = store.get(resource.key(namespace: namespace, name: name))
      if let document = try? stored.flatMap({ try JSONValue.parse($0.value) }) { found = [CELValue(document)] }
    } else {
      var decoder = FieldDecoder(isLenient: true)
      let selector = LabelSelector(reference["selector"] ?? [:], &decoder)
      for object in store.list(prefix: resource.prefix(namespace: namespace)).objects {
        guard let document = try? JSONValue.parse(object.value),
          selector.matches(ObjectMetadata(document.object ?? [:]).labels)
        else { continue }
        found.append(CELValue(document))
        guard found.count <= Self.paramsMax else {
          throw PolicyParamsProblem(message: "more than \(Self.paramsMax) parameters are selected")
        }
      }
    }
    if found.isEmpty, reference["parameterNotFoundAction"] != "Allow" {
      throw PolicyParamsProblem(
        message: "no params found for policy binding with `Deny` parameterNotFoundAction")
    }
    return found
  }
}
