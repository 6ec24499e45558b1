import JSON

/// One rule of a role, ready to be asked.
///
/// https://kubernetes.io/docs/reference/access-authn-authz/rbac/
package struct RoleRule: Hashable, Sendable {
  package var verbs: Set<String> = []
  package var groups: Set<String> = []
  /// `pods`, `pods/log`, `*/scale`, `*`.
  package var resources: Set<String> = []
  /// Empty: all.
  package var names: Set<String> = []
  /// `/metrics`, `/apis/*`, `*`.
  package var paths: Set<String> = []

  init() {}

  init(_ rule: JSONValue) {
    func set(_ key: String) -> Set<String> { Set((rule[key]?.array ?? []).compactMap(\.string)) }
    verbs = set("verbs")
    groups = set("apiGroups")
    resources = set("resources")
    names = set("resourceNames")
    paths = set("nonResourceURLs")
  }

  /// The rules of a Role or ClusterRole.
  static func all(of role: JSONValue) -> [RoleRule] { (role["rules"]?.array ?? []).map { RoleRule($0) } }

  func allows(_ asked: AccessAttributes) -> Bool {
    guard verbs.contains(asked.verb) || verbs.contains("*") else { return false }
    if asked.resource.isEmpty { return allows(path: asked.path) }
    guard groups.contains(asked.group) || groups.contains("*"), allowsResource(asked.resource, asked.subresource)
    else { return false }
    // A list narrowed to one name is of that name.
    return names.isEmpty || names.contains(asked.name.isEmpty ? asked.nameSelector : asked.name)
  }

  private func allows(path: String) -> Bool {
    if paths.contains(path) || paths.contains("*") { return true }
    return paths.contains { $0.hasSuffix("*") && path.hasPrefix($0.dropLast()) }
  }

  private func allowsResource(_ resource: String, _ subresource: String) -> Bool {
    if resources.contains("*") { return true }
    if subresource.isEmpty { return resources.contains(resource) }
    return resources.contains("\(resource)/\(subresource)") || resources.contains("*/\(subresource)")
  }

  // MARK: whether rules are held

  /// The smallest rules of which this one consists: one verb, one group, one resource, one name.
  var atoms: [RoleRule] {
    var atoms: [RoleRule] = []
    for verb in verbs.sorted() {
      for path in paths.sorted() {
        var atom = RoleRule()
        (atom.verbs, atom.paths) = ([verb], [path])
        atoms.append(atom)
      }
      for group in groups.sorted() {
        for resource in resources.sorted() {
          for name in names.isEmpty ? [nil] : names.sorted().map({ Optional($0) }) {
            var atom = RoleRule()
            (atom.verbs, atom.groups, atom.resources) = ([verb], [group], [resource])
            if let name { atom.names = [name] }
            atoms.append(atom)
          }
        }
      }
    }
    return atoms
  }

  /// Whether all that `atom` allows is allowed by this rule.
  func covers(_ atom: RoleRule) -> Bool {
    guard verbs.contains("*") || verbs.isSuperset(of: atom.verbs) else { return false }
    if let path = atom.paths.first {
      return paths.contains("*") || paths.contains(path)
        || paths.contains { $0.hasSuffix("*") && path.hasPrefix($0.dropLast()) }
    }
    guard groups.contains("*") || groups.isSuperset(of: atom.groups) else { return false }
    guard names.isEmpty || !atom.names.isEmpty && names.isSuperset(of: atom.names) else { return false }
    return atom.resources.allSatisfy { resource in
      if resources.contains("*") || resources.contains(resource) { return true }
      guard let slash = resource.firstIndex(of: "/") else { return false }
      return resources.contains("*\(resource[slash...])")
    }
  }

  /// As the refusal of an escalation names it: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
  var words: String {
    func list(_ name: String, _ values: Set<String>) -> String? {
      guard !values.isEmpty else { return nil }
      return "\(name):[" + values.sorted().map { "\"\($0)\"" }.joined(separator: " ") + "]"
    }
    let parts = [
      list("APIGroups", groups), list("Resources", resources), list("ResourceNames", names),
      list("NonResourceURLs", paths), list("Verbs", verbs),
    ]
    return "{" + parts.compactMap { $0 }.joined(separator: ", ") + "}"
  }

  /// As SelfSubjectRulesReview lists it.
  var json: JSONValue {
    var object: JSONObject = ["verbs": JSONValue(verbs.sorted())]
    if !paths.isEmpty { object["nonResourceURLs"] = JSONValue(paths.sorted()) }
    if !groups.isEmpty { object["apiGroups"] = JSONValue(groups.sorted()) }
    if !resources.isEmpty { object["resources"] = JSONValue(resources.sorted()) }
    if !names.isEmpty { object["resourceNames"] = JSONValue(names.sorted()) }
    return .object(object)
  }
}
