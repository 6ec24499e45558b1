import HTTPServer
import JSON
import KubeModel
import ObjectStore
import PKI
import Testing

@testable import APIServer

/// Requests for certificates: who asked is what the server says, and who approves must be allowed to.
@Suite struct CertificateAccessTests {
  private static let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
  private static let ann = HTTPPeer.certificate(commonName: "ann", organizations: ["dev"])

  private static func request(
    _ name: String, signer: String = "kubernetes.io/kube-apiserver-client", organizations: [String] = []
  ) throws -> JSONValue {
    let made = try SigningRequest.make(
      CredentialRequest(commonName: "ann", organizations: organizations, use: .client))
    return [
      "metadata": ["name": .string(name)],
      "spec": [
        "request": .string(KubeModel.Base64.encode(made.request)), "signerName": .string(signer),
        "usages": ["client auth"], "username": "root", "groups": ["system:masters"],
      ],
    ]
  }

  @Test func theServerSaysWhoAsked() async throws {
    let world = try await TestServer()
    let made = try await world.send("POST", Self.path, try Self.request("a"), headers: ["Impersonate-User": "ann"])
    #expect(made.status == 403, "nobody may ask who was not allowed to")
    let own = try await world.send("POST", Self.path, try Self.request("a"))
    #expect(own.status == 201, "\(own.text)")
    #expect(own.json["spec"]?["username"] == "system:apiserver")
    let changed = try await world.send(
      "PATCH", "\(Self.path)/a", ["spec": ["username": "root"]], type: "application/merge-patch+json")
    #expect(changed.json["spec"]?["username"] == "system:apiserver", "\(changed.text)")
    let masters = try await world.send(
      "POST", Self.path, try Self.request("b", organizations: ["system:masters"]))
    #expect(masters.status == 403)
    #expect(masters.message.contains("signer with system:masters group is not allowed"), "\(masters.text)")
    var nonsense = try Self.request("c").object ?? [:]
    nonsense[object: "spec"]["request"] = "AAAA"
    let broken = try await world.send("POST", Self.path, .object(nonsense))
    #expect(broken.status == 422 && broken.message.contains("spec.request"), "\(broken.text)")
    try await world.stop()
  }

  @Test func whoApprovesMustBeAllowedToForTheSigner() async throws {
    let world = try await TestServer()
    var stored = try await world.send("POST", Self.path, try Self.request("a")).json
    stored[path: "status", "conditions"] = [["type": "Approved", "status": "True", "reason": "r", "message": "m"]]
    let rbac = "/apis/rbac.authorization.k8s.io/v1"
    let role: JSONValue = [
      "metadata": ["name": "approver"],
      "rules": [
        [
          "verbs": ["update", "get"], "apiGroups": ["certificates.k8s.io"],
          "resources": ["certificatesigningrequests/approval"],
        ]
      ],
    ]
    #expect(try await world.send("POST", "\(rbac)/clusterroles", role).status == 201)
    func bind(_ name: String, _ role: String) async throws {
      let binding: JSONValue = [
        "metadata": ["name": .string(name)],
        "subjects": [["kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ann"]],
        "roleRef": ["apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": .string(role)],
      ]
      #expect(try await world.send("POST", "\(rbac)/clusterrolebindings", binding).status == 201)
    }
    let approval = "\(Self.path)/a/approval"
    #expect(try await world.send("PUT", approval, stored, peer: Self.ann).status == 403)
    try await bind("approver", "approver")
    let refused = try await world.send("PUT", approval, stored, peer: Self.ann)
    #expect(
      refused.message.contains(
        "user not permitted to approve requests with signerName \"kubernetes.io/kube-apiserver-client\""),
      "\(refused.text)")
    try await bind("signer", "system:certificates.k8s.io:kube-apiserver-client-approver")
    let done = try await world.send("PUT", approval, stored, peer: Self.ann)
    #expect(done.status == 200, "\(done.text)")
    #expect(done.json["status"]?["conditions"]?[0]?["lastUpdateTime"] != nil)
    let stale = try await world.send("PUT", approval, stored)
    #expect(stale.status == 409, "\(stale.text)")
    var both = done.json
    both[path: "status", "conditions"] = .array(
      (done.json["status"]?["conditions"]?.array ?? []) + [["type": "Denied", "status": "True"]])
    #expect(try await world.send("PUT", approval, both).message.contains("mutually exclusive"))
    var none = done.json
    none[path: "status", "conditions"] = []
    #expect(try await world.send("PUT", approval, none).message.contains("may not remove a condition"))
    #expect(try await world.send("GET", approval).status == 200)
    // Who may write the status must be the signer: it would be as good as an approval.
    let writer: JSONValue = [
      "metadata": ["name": "writer"],
      "rules": [
        [
          "verbs": ["update"], "apiGroups": ["certificates.k8s.io"],
          "resources": ["certificatesigningrequests/status"],
        ]
      ],
    ]
    #expect(try await world.send("POST", "\(rbac)/clusterroles", writer).status == 201)
    try await bind("writer", "writer")
    let forged = try await world.send("PUT", "\(Self.path)/a/status", done.json, peer: Self.ann)
    #expect(
      forged.status == 403
        && forged.message.contains(
          "user not permitted to sign requests with signerName \"kubernetes.io/kube-apiserver-client\""),
      "\(forged.text)")
    try await world.stop()
  }
}

/// Secrets that are tokens, and roles that gather: what the server itself looks after.
@Suite struct UpkeepAccessTests {
  private static let secrets = "/api/v1/namespaces/default/secrets"

  @Test func aTokenSecretIsFilledAndGoesWithItsAccount() async throws {
    let world = try await TestServer()
    try await world.send("POST", TokenAccessTests.accounts, ["metadata": ["name": "robot"]])
    func secret(_ name: String, _ account: String) -> JSONValue {
      [
        "metadata": [
          "name": .string(name), "annotations": ["kubernetes.io/service-account.name": .string(account)],
        ], "type": "kubernetes.io/service-account-token",
      ]
    }
    #expect(try await world.send("POST", Self.secrets, secret("t", "robot")).status == 201)
    try await world.send("POST", Self.secrets, secret("lost", "nobody"))
    for name in ["t", "lost"] { await world.server.fillSecret("/secrets/default/\(name)") }
    #expect(try await world.send("GET", "\(Self.secrets)/lost").status == 404)
    let filled = try await world.send("GET", "\(Self.secrets)/t").json
    #expect(filled["data"]?["ca.crt"] != nil && filled["data"]?["namespace"] == "ZGVmYXVsdA==")
    #expect(filled["metadata"]?["annotations"]?["kubernetes.io/service-account.uid"] != nil)
    let bytes = try #require(KubeModel.Base64.decode(filled["data"]?["token"]?.string ?? ""))
    let headers = TokenAccessTests.bearer(String(decoding: bytes, as: UTF8.self))
    let who = try await world.send("POST", TokenAccessTests.whoami, [:], peer: .anonymous, headers: headers)
    #expect(
      who.json["status"]?["userInfo"]?["username"] == "system:serviceaccount:default:robot", "\(who.text)")
    let revision = world.store.revision
    await world.server.fillSecret("/secrets/default/t")
    #expect(world.store.revision == revision)
    try await world.send("DELETE", "\(TokenAccessTests.accounts)/robot")
    #expect(
      try await world.send("POST", TokenAccessTests.whoami, [:], peer: .anonymous, headers: headers).status == 401)
    await world.server.fillSecret("/secrets/default/t")
    #expect(try await world.send("GET", "\(Self.secrets)/t").status == 404)
    try await world.stop()
  }

  @Test func bootstrapTokensGoAfterTheirTime() async throws {
    let world = try await TestServer()
    let secret: JSONValue = [
      "metadata": ["name": "bootstrap-token-abcdef"], "type": "bootstrap.kubernetes.io/token",
      "stringData": [
        "token-id": "abcdef", "token-secret": "0123456789abcdef",
        "expiration": .string(ObjectNames.time(TestServer.start + 60)),
      ],
    ]
    let path = "/api/v1/namespaces/kube-system/secrets"
    #expect(try await world.send("POST", path, secret).status == 201)
    await world.server.removeExpiredBootstrapTokens()
    #expect(try await world.send("GET", "\(path)/bootstrap-token-abcdef").status == 200)
    world.advance(seconds: 60)
    await world.server.removeExpiredBootstrapTokens()
    #expect(try await world.send("GET", "\(path)/bootstrap-token-abcdef").status == 404)
    try await world.stop()
  }

  @Test func aRoleGathersTheRulesOfThoseItSelects() async throws {
    let world = try await TestServer()
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    let label = "rbac.authorization.k8s.io/aggregate-to-view"
    let extra: JSONValue = [
      "metadata": ["name": "widgets", "labels": [label: "true"]],
      "rules": [["verbs": ["get"], "apiGroups": ["example.com"], "resources": ["widgets"]]],
    ]
    #expect(try await world.send("POST", path, extra).status == 201)
    // view, then edit by view's label, then admin by edit's: a change comes to each in turn.
    for _ in 0..<3 { await world.server.gatherRules() }
    // view gathers it, and edit gathers view's parts by its own label.
    let rules = RoleRule.all(of: try await world.send("GET", "\(path)/view").json)
    #expect(rules.contains { $0.resources == ["widgets"] } && rules.count > 5)
    try await world.send("DELETE", "\(path)/widgets")
    for _ in 0..<3 { await world.server.gatherRules() }
    #expect(
      !RoleRule.all(of: try await world.send("GET", "\(path)/view").json).contains { $0.resources == ["widgets"] })
    let revision = world.store.revision
    await world.server.gatherRules()
    #expect(world.store.revision == revision)
    try await world.stop()
  }
}
