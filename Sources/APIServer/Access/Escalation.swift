import JSON
import KubeModel

/// Nobody gives away what they do not have: writes of roles and bindings are checked against their writer's own rules.
///
/// https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
extension APIServer {
  /// - Parameter old: what is stored; nil for a creation.
  /// - Throws: 403 that names the rules which the writer lacks.
  func checkEscalation(_ object: JSONObject, old: JSONObject?, _ context: RequestContext) throws(APIStatus) {
    let type = context.resource.type
    guard type.group == RoleIndex.group, !context.user.groups.contains(UserInfo.mastersGroup) else { return }
    let name = object[object: "metadata"].text("name")
    let wanted: [RoleRule]
    switch type.plural {
    case "roles", "clusterroles":
      if let old, old["rules"] == object["rules"], old["aggregationRule"] == object["aggregationRule"] { return }
      if isAllowed("escalate", type.plural, name, context) { return }
      // What will be gathered is not known: only who may do everything may ask for it.
      wanted =
        object["aggregationRule"]?.object == nil
        ? RoleRule.all(of: .object(object)) : [Self.everything, Self.everyPath]
    case "rolebindings", "clusterrolebindings":
      if let old, old["roleRef"] == object["roleRef"], old["subjects"] == object["subjects"] { return }
      let reference = object[object: "roleRef"]
      let kind = reference.text("kind")
      let role = reference.text("name")
      if isAllowed("bind", kind == "ClusterRole" ? "clusterroles" : "roles", role, context) { return }
      guard
        let rules = access.authorizer.roles?.rules(kind: kind, namespace: context.namespace, name: role)
      else {
        throw .notFound(
          QualifiedResource(group: RoleIndex.group, resource: kind == "ClusterRole" ? "clusterroles" : "roles"), role)
      }
      wanted = rules
    default: return
    }
    let held = access.authorizer.roles?.rules(of: context.user, namespace: context.namespace) ?? []
    let lacking = wanted.filter { rule in !rule.atoms.allSatisfy { atom in held.contains { $0.covers(atom) } } }
    guard !lacking.isEmpty else { return }
    throw .forbidden(context.resource.qualified, name, Self.words(context.user, lacking))
  }

  private static let everything = RoleRule(["verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]])
  private static let everyPath = RoleRule(["verbs": ["*"], "nonResourceURLs": ["*"]])

  private func isAllowed(_ verb: String, _ resource: String, _ name: String, _ context: RequestContext) -> Bool {
    let asked = AccessAttributes(
      verb: verb, group: RoleIndex.group, resource: resource, namespace: context.namespace, name: name)
    return access.authorizer.decide(context.user, asked).isAllowed
  }

  private static func words(_ user: UserInfo, _ lacking: [RoleRule]) -> String {
    let groups = user.groups.map { "\"\($0)\"" }.joined(separator: " ")
    return "user \"\(user.name)\" (groups=[\(groups)]) is attempting to grant RBAC permissions not currently held:\n"
      + lacking.map(\.words).sorted().joined(separator: "\n")
  }
}
