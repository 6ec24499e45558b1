import JSON
import KubeModel
import ObjectStore

/// The table of default roles, read: objects as they are to be in the store.
struct DefaultRoles {
  struct Role {
    var name: String
    /// Empty for a ClusterRole.
    var namespace = ""
    /// `aggregate-to-admin` and the like.
    var labels: [String] = []
    /// The label whose roles it gathers.
    var gathers = ""
    var rules: [JSONValue] = []
  }

  struct Binding {
    var name: String
    var namespace = ""
    var role: String
    var subjects: [JSONValue]
  }

  private(set) var roles: [Role] = []
  private(set) var bindings: [Binding] = []

  private static let verbs: [String: [String]] = [
    "read": ["get", "list", "watch"], "write": ["create", "delete", "deletecollection", "patch", "update"],
  ]

  init(_ text: String = DefaultRoleTable.text) {
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ").map(String.init)
      switch words.first {
      case "role" where !line.hasPrefix(" "): roles.append(Role(name: words[1], labels: Array(words.dropFirst(2))))
      case "gather" where !line.hasPrefix(" "):
        roles.append(Role(name: words[1], labels: Array(words.dropFirst(3)), gathers: words[2]))
      case "local" where !line.hasPrefix(" "): roles.append(Role(name: words[2], namespace: words[1]))
      case "bind" where !line.hasPrefix(" "): addBinding(words)
      default:
        guard !roles.isEmpty else { continue }
        roles[roles.count - 1].rules.append(Self.rule(line))
      }
    }
    bindControllers()
    gather()
  }

  private static func rule(_ line: Substring) -> JSONValue {
    let parts = line.split(separator: "|").map { $0.split(separator: " ").map(String.init) }
    let verbs = parts[0].flatMap { Self.verbs[$0] ?? [$0] }
    if parts.count == 2 { return ["verbs": JSONValue(verbs), "nonResourceURLs": JSONValue(parts[1])] }
    var rule: JSONObject = [
      "verbs": JSONValue(verbs), "apiGroups": JSONValue(parts[1].map { $0 == "core" ? "" : $0 }),
      "resources": JSONValue(parts[2]),
    ]
    if parts.count > 3 { rule["resourceNames"] = JSONValue(parts[3]) }
    return .object(rule)
  }

  private mutating func addBinding(_ words: [String]) {
    let place = words[1].split(separator: "/", maxSplits: 1).map(String.init)
    let subjects = words.dropFirst(3).map { word -> JSONValue in
      let parts = word.split(separator: ":", maxSplits: 1).map(String.init)
      if parts[0] == "ServiceAccount" {
        let account = parts[1].split(separator: "/").map(String.init)
        return ["kind": "ServiceAccount", "namespace": .string(account[0]), "name": .string(account[1])]
      }
      return ["kind": .string(parts[0]), "apiGroup": .string(RoleIndex.group), "name": .string(parts[1])]
    }
    bindings.append(
      Binding(
        name: place[place.count - 1], namespace: place.count == 2 ? place[0] : "", role: words[2], subjects: subjects))
  }

  /// Each controller's role is its account's in kube-system.
  private mutating func bindControllers() {
    let prefix = "system:controller:"
    for role in roles where role.namespace.isEmpty && role.name.hasPrefix(prefix) {
      bindings.append(
        Binding(
          name: role.name, role: role.name,
          subjects: [
            [
              "kind": "ServiceAccount", "namespace": "kube-system",
              "name": .string(String(role.name.dropFirst(prefix.count))),
            ]
          ]))
    }
  }

  /// The roles that gather others' rules begin with those of this table: view, then edit, then admin.
  private mutating func gather() {
    for index in roles.indices.reversed() where !roles[index].gathers.isEmpty {
      let label = roles[index].gathers
      roles[index].rules = roles.enumerated().filter { $0.offset != index && $0.element.labels.contains(label) }
        .sorted { $0.element.name < $1.element.name }.flatMap(\.element.rules)
    }
  }
}

extension DefaultRoles.Role {
  static let labelPrefix = "rbac.authorization.k8s.io/"

  var document: JSONObject {
    var metadata: JSONObject = ["name": .string(name)]
    if !namespace.isEmpty { metadata["namespace"] = .string(namespace) }
    var labels = ["kubernetes.io/bootstrapping": "rbac-defaults"]
    for label in self.labels { labels[Self.labelPrefix + label] = "true" }
    metadata["labels"] = JSONValue(labels)
    metadata["annotations"] = JSONValue([DefaultRoles.updates: "true"])
    var document: JSONObject = ["metadata": .object(metadata), "rules": .array(rules)]
    if !gathers.isEmpty {
      document["aggregationRule"] = [
        "clusterRoleSelectors": [["matchLabels": JSONValue([Self.labelPrefix + gathers: "true"])]]
      ]
    }
    return document
  }
}

extension DefaultRoles.Binding {
  var document: JSONObject {
    var metadata: JSONObject = ["name": .string(name)]
    if !namespace.isEmpty { metadata["namespace"] = .string(namespace) }
    metadata["labels"] = ["kubernetes.io/bootstrapping": "rbac-defaults"]
    metadata["annotations"] = JSONValue([DefaultRoles.updates: "true"])
    var document: JSONObject = [
      "metadata": .object(metadata),
      "roleRef": [
        "apiGroup": .string(RoleIndex.group), "kind": .string(namespace.isEmpty ? "ClusterRole" : "Role"),
        "name": .string(role),
      ],
    ]
    if !subjects.isEmpty { document["subjects"] = .array(subjects) }
    return document
  }
}

extension DefaultRoles {
  /// Whoever sets this to `false` on a default role has it left alone.
  static let updates = "rbac.authorization.kubernetes.io/autoupdate"

  /// A stored role with what it lacks of the default; nil where it lacks nothing, or is to be left alone. What somebody
  /// added stays.
  static func completed(_ stored: JSONObject, _ wanted: JSONObject) -> JSONObject? {
    guard stored[object: "metadata"][object: "annotations"].text(updates) != "false" else { return nil }
    var result = stored
    if wanted["aggregationRule"] != nil {
      // Its rules follow from other roles.
      if result["aggregationRule"] == nil { result["aggregationRule"] = wanted["aggregationRule"] }
    } else if let rules = wanted["rules"]?.array {
      let held = RoleRule.all(of: .object(stored))
      let missing = rules.filter { rule in
        !RoleRule(rule).atoms.allSatisfy { atom in held.contains { $0.covers(atom) } }
      }
      if !missing.isEmpty { result["rules"] = .array((stored["rules"]?.array ?? []) + missing) }
    }
    if let subjects = wanted["subjects"]?.array {
      let present = stored["subjects"]?.array ?? []
      let missing = subjects.filter { !present.contains($0) }
      if !missing.isEmpty { result["subjects"] = .array(present + missing) }
    }
    for (key, value) in wanted[object: "metadata"][object: "labels"].members
    where result[object: "metadata"][object: "labels"][key] == nil {
      result[object: "metadata"][object: "labels"][key] = value
    }
    return result == stored ? nil : result
  }
}

extension APIServer {
  /// Makes the default roles and bindings that are missing, and gives those that are there what they lack.
  func bootstrapRoles() async throws(APIStatus) {
    let defaults = DefaultRoles()
    var wanted: [(ServedResource, JSONObject)] = []
    func add(_ plural: String, _ document: JSONObject) {
      guard let resource = resources.resource(apiVersion: "\(RoleIndex.group)/v1", plural: plural) else { return }
      wanted.append((resource, document))
    }
    for role in defaults.roles { add(role.namespace.isEmpty ? "clusterroles" : "roles", role.document) }
    for binding in defaults.bindings {
      add(binding.namespace.isEmpty ? "clusterrolebindings" : "rolebindings", binding.document)
    }
    var transaction = Transaction()
    let now = configuration.now()
    for (resource, document) in wanted {
      let metadata = ObjectMetadata(document)
      let key = resource.key(namespace: metadata.namespace, name: metadata.name)
      var result = document
      if let stored = store.get(key) {
        guard let present = (try? JSONValue.parse(stored.value))?.object,
          let completed = DefaultRoles.completed(present, document)
        else { continue }
        result = completed
        transaction.checks[key] = stored.revision
      } else {
        result[object: "metadata"]["uid"] = .string(ObjectNames.uid())
        result[object: "metadata"]["creationTimestamp"] = .string(ObjectNames.time(now))
        transaction.checks[key] = 0
      }
      transaction.puts.append((key, resource.stored(result)))
    }
    guard !transaction.puts.isEmpty else { return }
    do throws(StoreError) {
      _ = try await store.commit(transaction)
    } catch {
      throw status(error)
    }
  }
}
