import JSON
package import ObjectStore
import Synchronization

/// The roles and bindings of a store, by whom they are for: a decision looks at a user's own bindings only.
///
/// Whether anything of them changed since the last look is a number of the store, so a request pays for a change once.
/// A decision takes no I/O and is as new as the store's memory.
package final class RoleIndex: Sendable {
  static let group = "rbac.authorization.k8s.io"
  private static let clusterRoles = "/clusterroles.\(group)/"
  private static let clusterBindings = "/clusterrolebindings.\(group)/"
  private static let roles = "/roles.\(group)/"
  private static let bindings = "/rolebindings.\(group)/"
  private static let folders = [clusterRoles, clusterBindings, roles, bindings]

  /// Whom a binding names.
  enum Subject: Hashable {
    case user(String)
    case group(String)
  }

  /// One binding, as its subjects find it.
  struct Grant {
    let binding: String
    /// Empty for a binding of the whole cluster.
    let namespace: String
    /// The key of the role in the store.
    let role: String
  }

  private struct State {
    /// The folders' last changes when they were read.
    var revision: Int64 = -1
    /// What was read, so that what is the same is not read again.
    var objects: [String: StoredObject] = [:]
    var rules: [String: [RoleRule]] = [:]
    var grants: [String: (Grant, [Subject])] = [:]
    /// By namespace; the cluster's are under the empty one.
    var bySubject: [String: [Subject: [Grant]]] = [:]
  }

  private let store: ObjectStore
  private let state = Mutex(State())

  package init(_ store: ObjectStore) { self.store = store }

  /// Calls `body` with every grant of a user in a namespace and in the cluster, until it says that it has seen enough.
  func visit(_ user: UserInfo, namespace: String, _ body: (Grant, [RoleRule]?) -> Bool) {
    let changed = store.lastChange(folders: Self.folders)
    state.withLock { state in
      if state.revision < changed || state.revision < 0 { refresh(&state) }
      for place in namespace.isEmpty ? [""] : ["", namespace] {
        guard let grants = state.bySubject[place] else { continue }
        for grant in grants[.user(user.name)] ?? [] where body(grant, state.rules[grant.role]) { return }
        for group in user.groups {
          for grant in grants[.group(group)] ?? [] where body(grant, state.rules[grant.role]) { return }
        }
      }
    }
  }

  /// The rules of a role; nil where there is none.
  func rules(kind: String, namespace: String, name: String) -> [RoleRule]? {
    let changed = store.lastChange(folders: Self.folders)
    return state.withLock { state in
      if state.revision < changed || state.revision < 0 { refresh(&state) }
      return state.rules[Self.key(kind: kind, namespace: namespace, name: name)]
    }
  }

  static func key(kind: String, namespace: String, name: String) -> String {
    kind == "ClusterRole" ? "\(clusterRoles)\(name)" : "\(roles)\(namespace)/\(name)"
  }

  private func refresh(_ state: inout State) {
    // Asked for before the lists: what comes in between is read twice, not missed.
    let revision = store.revision
    var seen: Set<String> = []
    for folder in Self.folders {
      let isRole = folder == Self.clusterRoles || folder == Self.roles
      for object in store.list(prefix: folder).objects {
        seen.insert(object.key)
        if let known = state.objects[object.key], known === object { continue }
        Self.forget(object.key, &state)
        state.objects[object.key] = object
        // What cannot be read grants nothing.
        guard let document = try? JSONValue.parse(object.value) else { continue }
        if isRole {
          state.rules[object.key] = RoleRule.all(of: document)
        } else {
          Self.take(document, key: object.key, &state)
        }
      }
    }
    for key in state.objects.keys where !seen.contains(key) { Self.forget(key, &state) }
    state.revision = revision
  }

  private static func take(_ binding: JSONValue, key: String, _ state: inout State) {
    let namespace = key.hasPrefix(clusterBindings) ? "" : binding.text("metadata", "namespace")
    let kind = binding.text("roleRef", "kind")
    guard binding.text("roleRef", "apiGroup") == group, kind == "ClusterRole" || kind == "Role" && !namespace.isEmpty
    else { return }
    let grant = Grant(
      binding: binding.text("metadata", "name"), namespace: namespace,
      role: Self.key(kind: kind, namespace: namespace, name: binding.text("roleRef", "name")))
    let subjects = (binding["subjects"]?.array ?? []).compactMap { subject -> Subject? in
      switch subject.text("kind") {
      case "User": return .user(subject.text("name"))
      case "Group": return .group(subject.text("name"))
      case "ServiceAccount":
        let home = subject.text("namespace").isEmpty ? namespace : subject.text("namespace")
        return home.isEmpty ? nil : .user(TokenAuthority.userName(home, subject.text("name")))
      default: return nil
      }
    }
    state.grants[key] = (grant, subjects)
    for subject in subjects { state.bySubject[namespace, default: [:]][subject, default: []].append(grant) }
  }

  private static func forget(_ key: String, _ state: inout State) {
    state.objects[key] = nil
    state.rules[key] = nil
    guard let (grant, subjects) = state.grants.removeValue(forKey: key) else { return }
    for subject in subjects {
      state.bySubject[grant.namespace]?[subject]?.removeAll { $0.binding == grant.binding }
      if state.bySubject[grant.namespace]?[subject]?.isEmpty == true {
        state.bySubject[grant.namespace]?[subject] = nil
      }
    }
    if state.bySubject[grant.namespace]?.isEmpty == true { state.bySubject[grant.namespace] = nil }
  }
}

/// What a question was answered with, and why.
package struct AccessDecision: Hashable, Sendable {
  package var isAllowed: Bool
  /// For an answer of yes, by what; for no, what is known of it; may be empty.
  package var reason: String
}

extension RoleIndex {
  func decide(_ user: UserInfo, _ asked: AccessAttributes) -> AccessDecision {
    var found: Grant?
    var missing: [String] = []
    visit(user, namespace: asked.resource.isEmpty ? "" : asked.namespace) { grant, rules in
      guard let rules else {
        missing.append(Self.missingWords(grant.role))
        return false
      }
      guard rules.contains(where: { $0.allows(asked) }) else { return false }
      found = grant
      return true
    }
    if let found {
      return AccessDecision(isAllowed: true, reason: "RBAC: allowed by \(Self.words(found))")
    }
    return AccessDecision(
      isAllowed: false,
      reason: missing.isEmpty
        ? "" : "RBAC: " + (missing.count == 1 ? missing[0] : "[\(missing.joined(separator: ", "))]"))
  }

  private static func missingWords(_ role: String) -> String {
    let name = role.split(separator: "/").last ?? ""
    let resource = role.hasPrefix(clusterRoles) ? "clusterrole" : "role"
    return "\(resource).\(group) \"\(name)\" not found"
  }

  private static func words(_ grant: Grant) -> String {
    let name = grant.role.split(separator: "/").last ?? ""
    let kind = grant.role.hasPrefix(clusterRoles) ? "ClusterRole" : "Role"
    let binding = grant.namespace.isEmpty ? "ClusterRoleBinding" : "RoleBinding"
    let place = grant.namespace.isEmpty ? "\"\(grant.binding)\"" : "\"\(grant.binding)/\(grant.namespace)\""
    return "\(binding) \(place) of \(kind) \"\(name)\""
  }

  /// All rules of a user in a namespace.
  func rules(of user: UserInfo, namespace: String) -> [RoleRule] {
    var all: [RoleRule] = []
    visit(user, namespace: namespace) { _, rules in
      all += rules ?? []
      return false
    }
    return all
  }
}
