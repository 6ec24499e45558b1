import HTTPServer
import JSON
import ObjectStore
import TestSupport
import Testing

@testable import APIServer

/// What roles and bindings grant, as clients meet it.
@Suite struct RoleAccessTests {
  private static let rbac = "/apis/rbac.authorization.k8s.io/v1"
  private static let ann = HTTPPeer.certificate(commonName: "ann", organizations: ["dev"])

  private static func rule(_ verbs: [String], _ groups: [String], _ resources: [String], _ names: [String] = [])
    -> JSONValue
  {
    var rule: JSONObject = [
      "verbs": JSONValue(verbs), "apiGroups": JSONValue(groups), "resources": JSONValue(resources),
    ]
    if !names.isEmpty { rule["resourceNames"] = JSONValue(names) }
    return .object(rule)
  }

  private static func reference(_ kind: String, _ name: String) -> JSONValue {
    ["apiGroup": "rbac.authorization.k8s.io", "kind": .string(kind), "name": .string(name)]
  }

  private static func subject(_ kind: String, _ name: String) -> JSONValue {
    ["apiGroup": "rbac.authorization.k8s.io", "kind": .string(kind), "name": .string(name)]
  }

  /// Makes a role with `rules`, and binds it to `subjects`: in a namespace, or in the cluster where it is empty.
  private func grant(
    _ world: TestServer, _ rules: [JSONValue], to subjects: [JSONValue], in namespace: String = "",
    name: String = "r", peer: HTTPPeer = .process
  ) async throws {
    let base = namespace.isEmpty ? Self.rbac : "\(Self.rbac)/namespaces/\(namespace)"
    let (roles, bindings) =
      namespace.isEmpty ? ("clusterroles", "clusterrolebindings") : ("roles", "rolebindings")
    let role = try await world.send(
      "POST", "\(base)/\(roles)", ["metadata": ["name": .string(name)], "rules": .array(rules)], peer: peer)
    #expect(role.status == 201, "\(role.text)")
    let binding = try await world.send(
      "POST", "\(base)/\(bindings)",
      [
        "metadata": ["name": .string(name)], "subjects": .array(subjects),
        "roleRef": Self.reference(namespace.isEmpty ? "ClusterRole" : "Role", name),
      ], peer: peer)
    #expect(binding.status == 201, "\(binding.text)")
  }

  @Test func nothingIsAllowedButToLookAround() async throws {
    let world = try await TestServer()
    for path in ["/api", "/apis", "/apis/apps/v1", "/openapi/v3", "/version", "/readyz"] {
      #expect(try await world.send("GET", path, peer: Self.ann).status == 200, "\(path)")
    }
    #expect(
      try await world.send("GET", "/metrics", peer: Self.ann).message
        == #"forbidden: User "ann" cannot get path "/metrics""#)
    let pods = try await world.send("GET", "/api/v1/namespaces/default/pods", peer: Self.ann)
    #expect(pods.status == 403)
    #expect(
      pods.message
        == #"pods is forbidden: User "ann" cannot list resource "pods" in API group "" in the namespace "default""#)
    try await world.stop()
  }

  @Test func aRoleCountsInItsNamespaceAtOnceAndUntilItIsGone() async throws {
    let world = try await TestServer()
    let pods = "/api/v1/namespaces/default/pods"
    #expect(try await world.send("GET", pods, peer: Self.ann).status == 403)
    try await grant(
      world, [Self.rule(["list"], [""], ["pods"])], to: [Self.subject("Group", "dev")], in: "default")
    #expect(try await world.send("GET", pods, peer: Self.ann).status == 200)
    #expect(try await world.send("GET", "/api/v1/namespaces/kube-system/pods", peer: Self.ann).status == 403)
    #expect(try await world.send("GET", "/api/v1/pods", peer: Self.ann).status == 403)
    #expect(try await world.send("GET", "\(pods)/x", peer: Self.ann).status == 403)
    try await world.send("DELETE", "\(Self.rbac)/namespaces/default/roles/r")
    let refused = try await world.send("GET", pods, peer: Self.ann)
    #expect(
      refused.message.hasSuffix(#": RBAC: role.rbac.authorization.k8s.io "r" not found"#), "\(refused.message)")
    try await world.send("DELETE", "\(Self.rbac)/namespaces/default/rolebindings/r")
    #expect(try await world.send("GET", pods, peer: Self.ann).message.hasSuffix("in the namespace \"default\""))
    try await world.stop()
  }

  private static let wishes: [(String, String, Bool)] = [
    ("get pods a", "verbs", true), ("delete pods a", "verbs", false), ("get pods/log a", "verbs", false),
    ("get pods/log a", "log", true), ("get pods a", "log", false), ("update deployments.apps/scale d", "scale", true),
    ("update deployments.apps d", "scale", false), ("get configmaps one", "names", true),
    ("get configmaps two", "names", false), ("list configmaps", "names", false), ("get secrets s", "all", true),
    ("get widgets.example.com/status w", "all", true),
  ]

  private static let rules: [String: RoleRule] = [
    "verbs": RoleRule(rule(["get", "list"], [""], ["pods"])), "log": RoleRule(rule(["*"], [""], ["pods/log"])),
    "scale": RoleRule(rule(["update"], ["*"], ["*/scale"])),
    "names": RoleRule(rule(["get", "list"], [""], ["configmaps"], ["one"])),
    "all": RoleRule(rule(["*"], ["*"], ["*"])),
  ]

  @Test(arguments: wishes) func aRuleAllowsWhatItSays(_ wish: String, _ rule: String, _ isAllowed: Bool) throws {
    let words = wish.split(separator: " ").map(String.init)
    let parts = words[1].split(separator: "/").map(String.init)
    let names = parts[0].split(separator: ".", maxSplits: 1).map(String.init)
    let asked = AccessAttributes(
      verb: words[0], group: names.count > 1 ? names[1] : "", resource: names[0],
      subresource: parts.count > 1 ? parts[1] : "", namespace: "default", name: words.count > 2 ? words[2] : "")
    #expect(try #require(Self.rules[rule]).allows(asked) == isAllowed)
  }

  @Test func pathsMayEndInAStar() {
    let rule = RoleRule(["verbs": ["get"], "nonResourceURLs": ["/healthz/*", "/version"]])
    for (path, isAllowed) in [("/healthz/ping", true), ("/healthz", false), ("/version", true), ("/versions", false)] {
      #expect(rule.allows(AccessAttributes(verb: "get", path: path)) == isAllowed, "\(path)")
    }
    #expect(!rule.allows(AccessAttributes(verb: "get", resource: "version")))
  }

  @Test func serviceAccountsAreBoundByNamespaceAndName() async throws {
    let world = try await TestServer()
    let subject: JSONValue = ["kind": "ServiceAccount", "namespace": "default", "name": "default"]
    try await grant(world, [Self.rule(["get"], [""], ["nodes"])], to: [subject])
    let answer = try await world.send(
      "POST", "\(TokenAccessTests.accounts)/default/token", ["spec": [:]])
    let token = try #require(answer.json["status"]?["token"]?.string)
    let node = try await world.send(
      "GET", "/api/v1/nodes/none", peer: .anonymous, headers: TokenAccessTests.bearer(token))
    #expect(node.status == 404, "\(node.text)")
    let other = try await world.send("GET", "/api/v1/nodes", peer: .anonymous, headers: TokenAccessTests.bearer(token))
    #expect(other.message.contains(#"User "system:serviceaccount:default:default" cannot list resource "nodes""#))
    try await world.stop()
  }

  // MARK: escalation

  @Test func nobodyGivesAwayWhatTheyDoNotHave() async throws {
    let world = try await TestServer()
    let all = ["create", "update", "patch", "get"]
    try await grant(
      world,
      [
        Self.rule(all, ["rbac.authorization.k8s.io"], ["roles", "rolebindings"]), Self.rule(["get"], [""], ["pods"]),
      ], to: [Self.subject("User", "ann")], in: "default", name: "rights")
    let roles = "\(Self.rbac)/namespaces/default/roles"
    func role(_ rules: [JSONValue], _ name: String) -> JSONValue {
      ["metadata": ["name": .string(name)], "rules": .array(rules)]
    }
    let own = try await world.send("POST", roles, role([Self.rule(["get"], [""], ["pods"])], "own"), peer: Self.ann)
    #expect(own.status == 201, "\(own.text)")
    let more = try await world.send(
      "POST", roles, role([Self.rule(["get", "delete"], [""], ["pods"])], "more"), peer: Self.ann)
    #expect(more.status == 403)
    #expect(
      more.message == """
        roles.rbac.authorization.k8s.io "more" is forbidden: user "ann" (groups=["dev" "system:authenticated"]) is \
        attempting to grant RBAC permissions not currently held:
        {APIGroups:[""], Resources:["pods"], Verbs:["delete" "get"]}
        """)
    let wider = try await world.send(
      "PUT", "\(roles)/own", role([Self.rule(["*"], ["*"], ["*"])], "own"), peer: Self.ann)
    #expect(wider.status == 403, "\(wider.text)")
    let patched = try await world.send(
      "PATCH", "\(roles)/own", ["rules": [Self.rule(["get"], [""], ["secrets"])]],
      type: "application/merge-patch+json", peer: Self.ann)
    #expect(patched.status == 403, "\(patched.text)")
    func bind(_ kind: String, _ name: String) async throws -> TestServer.Answer {
      try await world.send(
        "POST", "\(Self.rbac)/namespaces/default/rolebindings",
        [
          "metadata": ["generateName": "b-"], "subjects": [Self.subject("User", "ann")],
          "roleRef": Self.reference(kind, name),
        ], peer: Self.ann)
    }
    #expect(try await bind("Role", "own").status == 201)
    #expect(try await bind("ClusterRole", "cluster-admin").status == 403)
    #expect(try await bind("Role", "none").status == 404)
    try await grant(
      world, [Self.rule(["bind"], ["rbac.authorization.k8s.io"], ["clusterroles"], ["view"])],
      to: [Self.subject("User", "ann")], name: "binder")
    #expect(try await bind("ClusterRole", "view").status == 201)
    #expect(try await bind("ClusterRole", "admin").status == 403)
    try await world.stop()
  }

  @Test func aRuleCoversItsParts() {
    let atoms = RoleRule(Self.rule(["get", "list"], ["", "apps"], ["pods", "deployments/scale"])).atoms
    #expect(atoms.count == 8)
    #expect(atoms.allSatisfy { RoleRule(Self.rule(["*"], ["*"], ["*"])).covers($0) })
    #expect(!RoleRule(Self.rule(["get"], [""], ["pods"])).covers(RoleRule(Self.rule(["get"], [""], ["*"]))))
    #expect(!RoleRule(Self.rule(["get"], [""], ["pods"], ["a"])).covers(RoleRule(Self.rule(["get"], [""], ["pods"]))))
    #expect(RoleRule(Self.rule(["get"], [""], ["*/scale"])).covers(RoleRule(Self.rule(["get"], [""], ["x/scale"]))))
  }

  // MARK: impersonation

  @Test func whoMayAsksAsAnother() async throws {
    let world = try await TestServer()
    func who(_ headers: HTTPFields, peer: HTTPPeer) async throws -> TestServer.Answer {
      try await world.send("POST", TokenAccessTests.whoami, [:], peer: peer, headers: headers)
    }
    var headers: HTTPFields = ["Impersonate-User": "bob", "Impersonate-Group": "ops"]
    headers.add("Impersonate-Extra-example.com%2fscope", "a")
    let bob = try await who(headers, peer: .process).json["status"]?["userInfo"]
    #expect(
      bob?["username"] == "bob" && bob?["groups"] == ["ops", "system:authenticated"], "\(String(describing: bob))")
    #expect(bob?["extra"]?["example.com/scope"] == ["a"])
    let refused = try await who(["Impersonate-User": "bob"], peer: Self.ann)
    #expect(refused.status == 403)
    #expect(
      refused.message
        == #"users "bob" is forbidden: User "ann" cannot impersonate resource "users" in API group "" at the cluster scope"#
    )
    try await grant(
      world, [Self.rule(["impersonate"], [""], ["users"], ["bob"])], to: [Self.subject("User", "ann")])
    #expect(try await who(["Impersonate-User": "bob"], peer: Self.ann).status == 201)
    #expect(try await who(["Impersonate-User": "root"], peer: Self.ann).status == 403)
    #expect(
      try await who(["Impersonate-User": "bob", "Impersonate-Group": "system:masters"], peer: Self.ann).status == 403)
    #expect(try await who(["Impersonate-Group": "x"], peer: .process).status == 500)
    let account = try await who(["Impersonate-User": "system:serviceaccount:default:default"], peer: .process)
    #expect(
      account.json["status"]?["userInfo"]?["groups"]
        == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    try await world.stop()
  }

  // MARK: defaults

  @Test func theDefaultRolesAreThereAndComeBack() async throws {
    let world = try await TestServer()
    let roles = "\(Self.rbac)/clusterroles"
    for name in ["cluster-admin", "admin", "edit", "view", "system:discovery", "system:node", "system:kube-scheduler"] {
      let role = try await world.send("GET", "\(roles)/\(name)")
      #expect(role.status == 200 && role.json["rules"]?.array?.isEmpty == false, "\(name): \(role.text)")
    }
    let admin = try await world.send("GET", "\(roles)/admin").json
    let edit = try await world.send("GET", "\(roles)/edit").json
    let covers = RoleRule.all(of: admin)
    #expect(RoleRule.all(of: edit).flatMap(\.atoms).allSatisfy { atom in covers.contains { $0.covers(atom) } })
    #expect(
      !RoleRule.all(of: try await world.send("GET", "\(roles)/view").json).contains { $0.resources.contains("secrets") }
    )
    try await world.send("DELETE", "\(roles)/system:discovery")
    #expect(try await world.send("GET", "/api", peer: Self.ann).status == 403)
    try await world.send(
      "PATCH", "\(roles)/system:basic-user", ["rules": [Self.rule(["get"], [""], ["pods"])]],
      type: "application/merge-patch+json")
    try await world.send(
      "PATCH", "\(roles)/system:monitoring",
      ["metadata": ["annotations": ["rbac.authorization.kubernetes.io/autoupdate": "false"]], "rules": []],
      type: "application/merge-patch+json")
    try await world.server.bootstrapRoles()
    #expect(try await world.send("GET", "/api", peer: Self.ann).status == 200)
    let basic = try await world.send("GET", "\(roles)/system:basic-user").json
    #expect(basic["rules"]?.array?.count == 3, "\(basic)")
    #expect(try await world.send("GET", "\(roles)/system:monitoring").json["rules"]?.array?.isEmpty ?? true)
    let revision = world.store.revision
    try await world.server.bootstrapRoles()
    #expect(world.store.revision == revision, "what is whole is not written")
    try await world.stop()
  }

  @Test func reviewsAskForOthers() async throws {
    let world = try await TestServer()
    let reviews = "/apis/authorization.k8s.io/v1"
    func allowed(_ spec: JSONObject) async throws -> TestServer.Answer {
      try await world.send("POST", "\(reviews)/subjectaccessreviews", ["spec": .object(spec)])
    }
    let wish: JSONValue = ["verb": "list", "resource": "pods", "namespace": "default"]
    #expect(
      try await allowed(["user": "ann", "resourceAttributes": wish]).json["status"]?["allowed"] == false)
    let masters = try await allowed(["user": "x", "groups": ["system:masters"], "resourceAttributes": wish])
    #expect(masters.json["status"]?["allowed"] == true)
    try await grant(world, [Self.rule(["list"], [""], ["pods"])], to: [Self.subject("User", "ann")], name: "lister")
    let ann = try await allowed(["user": "ann", "resourceAttributes": wish])
    #expect(ann.json["status"]?["allowed"] == true)
    #expect(
      ann.json["status"]?["reason"]
        == #"RBAC: allowed by ClusterRoleBinding "lister" of ClusterRole "lister""#, "\(ann.text)")
    #expect(try await allowed(["resourceAttributes": wish]).status == 422)
    let local = "\(reviews)/namespaces/default/localsubjectaccessreviews"
    let here = try await world.send(
      "POST", local,
      ["metadata": ["namespace": "default"], "spec": ["user": "ann", "resourceAttributes": wish]])
    #expect(here.json["status"]?["allowed"] == true, "\(here.text)")
    let elsewhere = try await world.send(
      "POST", local,
      ["spec": ["user": "ann", "resourceAttributes": ["verb": "list", "resource": "pods", "namespace": "x"]]])
    #expect(elsewhere.status == 400)
    #expect(
      try await world.send("POST", "\(reviews)/subjectaccessreviews", ["spec": [:]], peer: Self.ann).status == 403)
    try await world.stop()
  }

  /// A decision looks at the user's own bindings, however many others there are.
  @Test func aDecisionAmongThousandsOfBindingsIsShort() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let store = try await ObjectStore.open(directory: directory.path)
    for page in 0..<10 {
      var puts: [(key: String, value: [UInt8])] = []
      for index in (page * 500)..<((page + 1) * 500) {
        let binding: JSONValue = [
          "metadata": ["name": .string("b\(index)"), "namespace": "ns"],
          "subjects": [Self.subject("User", "user\(index)")], "roleRef": Self.reference("ClusterRole", "reader"),
        ]
        puts.append(("/rolebindings.rbac.authorization.k8s.io/ns/b\(index)", binding.encoded()))
      }
      _ = try await store.commit(Transaction(puts: puts))
    }
    let role: JSONValue = ["metadata": ["name": "reader"], "rules": [Self.rule(["get"], [""], ["pods"])]]
    _ = try await store.commit(
      Transaction(puts: [("/clusterroles.rbac.authorization.k8s.io/reader", role.encoded())]))
    let index = RoleIndex(store)
    let asked = AccessAttributes(verb: "get", resource: "pods", namespace: "ns", name: "p")
    let user = UserInfo(name: "user4711", groups: ["system:authenticated"])
    #expect(index.decide(user, asked).isAllowed)
    #expect(!index.decide(UserInfo(name: "user5001", groups: []), asked).isAllowed)
    let rounds = 2000
    let time = ContinuousClock().measure { for _ in 0..<rounds { _ = index.decide(user, asked) } }
    // Far above what it takes, far below what a look at five thousand bindings would.
    #expect(time < .microseconds(200 * rounds), "\(time / rounds) a decision")
    await store.close()
  }
}
