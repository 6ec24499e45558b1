import CEL
import JSON
import KubeModel

/// An expression of admission with its name.
struct AdmissionExpression: Sendable {
  let name: String
  let program: CELProgram
}

/// Expressions of admission at work.
enum AdmissionExpressions {
  /// Steps of all the expressions of one webhook or policy, as many as Kubernetes allows.
  static let budget = 10_000_000

  /// A list with a member that is an expression.
  static func expressions(
    _ list: JSONValue?, _ member: String, name: String, _ variables: [String: CELType]
  ) throws(CELProblem) -> [AdmissionExpression] {
    var found: [AdmissionExpression] = []
    for item in list?.array ?? [] {
      found.append(
        AdmissionExpression(
          name: item.text(name), program: try CELProgram(item.text(member), variables: variables)))
    }
    return found
  }

  /// - Returns: nil where an expression says that this is no concern; otherwise what failed, if anything.
  static func concern(
    _ conditions: [AdmissionExpression], _ variables: [String: CELValue]
  ) -> Result<Bool, CELProblem> {
    var (budget, failure): (Int, CELProblem?) = (budget, nil)
    for condition in conditions {
      do throws(CELProblem) {
        guard let holds = try condition.program.evaluate(variables, budget: &budget).bool else {
          throw CELProblem(.evaluation, "cel expression must evaluate to a bool")
        }
        // One that does not hold outweighs those that fail.
        if !holds { return .success(false) }
      } catch {
        let words = CELProblem(error.reason, "match condition \"\(condition.name)\": \(error)")
        failure = failure ?? words
      }
    }
    return failure.map { .failure($0) } ?? .success(true)
  }
}

/// `authorizer`, and what it is narrowed to step by step.
struct AdmissionAuthorizer: CELHostValue {
  let user: UserInfo
  let authorizer: Authorizer
  var asked = AccessAttributes(verb: "")
  /// Whether a resource or a path is named yet.
  var isAimed = false

  func call(_ method: String, _ arguments: [CELValue]) throws(CELProblem) -> CELValue? {
    guard arguments.count == (method == "requestResource" ? 0 : ["serviceAccount"].contains(method) ? 2 : 1) else {
      return nil
    }
    let texts = arguments.compactMap(\.string)
    guard texts.count == arguments.count else { return nil }
    var next = self
    switch (method, isAimed) {
    case ("path", false):
      next.asked.path = texts[0]
      next.isAimed = true
    case ("group", false): next.asked.group = texts[0]
    case ("serviceAccount", false):
      let (namespace, name) = (texts[0], texts[1])
      let account = UserInfo(
        name: "system:serviceaccount:\(namespace):\(name)",
        groups: ["system:serviceaccounts", "system:serviceaccounts:\(namespace)", UserInfo.authenticatedGroup])
      next = AdmissionAuthorizer(user: account, authorizer: authorizer)
    case ("resource", false):
      next.asked.resource = texts[0]
      next.isAimed = true
    case ("subresource", true): next.asked.subresource = texts[0]
    case ("namespace", true): next.asked.namespace = texts[0]
    case ("name", true): next.asked.name = texts[0]
    // Nothing here is decided by selectors: to ask with one is to ask without.
    case ("fieldSelector", true), ("labelSelector", true): break
    case ("check", true):
      next.asked.verb = texts[0]
      let decision = authorizer.decide(user, next.asked)
      return .host(AdmissionDecision(isAllowed: decision.isAllowed, reason: decision.reason))
    default: return nil
    }
    return .host(next)
  }
}

/// What an authorizer has decided.
struct AdmissionDecision: CELHostValue {
  let isAllowed: Bool
  let reason: String

  func call(_ method: String, _ arguments: [CELValue]) throws(CELProblem) -> CELValue? {
    guard arguments.isEmpty else { return nil }
    switch method {
    case "allowed": return .bool(isAllowed)
    case "reason": return .string(reason)
    case "errored": return .bool(false)
    case "error": return .string("")
    default: return nil
    }
  }
}
