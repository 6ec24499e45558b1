import HTTPServer
import JSON
import KubeModel
import Logging
import PKI
import Synchronization
import TestSupport
import Testing

@testable import APIServer

/// Webhooks over TLS on loopback.
@Suite(.timeLimit(.minutes(2))) struct WebhookAdmissionTests {
  static let maps = "/api/v1/namespaces/default/configmaps"

  /// A webhook's server that answers each review by a function.
  private func withHook(
    _ answer: @escaping @Sendable (JSONValue) -> JSONObject,
    _ body: @Sendable (_ port: Int, _ authority: [UInt8]) async throws -> Void
  ) async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let pki = try ClusterPKI.open(directory.path, names: ServerNames(advertiseAddress: "127.0.0.1"))
    let identity = HTTPTLSIdentity(
      certificateChain: pki.serving.certificate, privateKey: pki.serving.privateKey, authorities: pki.authority)
    let server = try await HTTPServer.bind(
      [.tcp(host: "127.0.0.1", port: 0, tls: HTTPTLS(identity))], logger: Logger(label: "hook")
    ) { request in
      guard let bytes = try? await request.body(), let review = try? JSONValue.parse(bytes),
        let asked = review["request"]
      else { return .text("no review", status: 400) }
      var response = answer(asked)
      response["uid"] = asked["uid"]
      let document: JSONValue = [
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": .object(response),
      ]
      return HTTPResponse(headers: ["Content-Type": "application/json"], body: .bytes(document.encoded()))
    }
    let task = Task { try await server.run() }
    let result: Result<Void, any Error>
    do { result = .success(try await body(server.ports[0], pki.authority)) } catch { result = .failure(error) }
    task.cancel()
    _ = await task.result
    try result.get()
  }

  private static func configuration(
    _ kind: String, port: Int, _ authority: [UInt8], failurePolicy: JSONValue = "Fail"
  ) -> JSONValue {
    [
      "apiVersion": "admissionregistration.k8s.io/v1", "kind": .string(kind), "metadata": ["name": "hooks"],
      "webhooks": [
        [
          "name": "maps.hooks.example", "sideEffects": "None", "admissionReviewVersions": ["v1"],
          "failurePolicy": failurePolicy, "timeoutSeconds": 5,
          "clientConfig": [
            "url": .string("https://localhost:\(port)/review"), "caBundle": .string(Base64.standard(authority)),
          ],
          "rules": [
            [
              "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
              "operations": ["CREATE", "UPDATE", "DELETE"],
            ]
          ],
        ]
      ],
    ]
  }

  private static let mutating = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
  private static let validating = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"

  @Test func aMutatingWebhookChangesWhatIsStored() async throws {
    let patch = Base64.standard(Array(#"[{"op":"add","path":"/metadata/labels","value":{"seen":"yes"}}]"#.utf8))
    try await withHook { asked in
      #expect(asked["operation"] == "CREATE" && asked["resource"]?["resource"] == "configmaps")
      #expect(asked["object"]?["kind"] == "ConfigMap" && asked["namespace"] == "default")
      return ["allowed": true, "patchType": "JSONPatch", "patch": .string(patch), "warnings": ["mind the gap"]]
    } _: { port, authority in
      let world = try await TestServer()
      let made = try await world.send(
        "POST", Self.mutating, Self.configuration("MutatingWebhookConfiguration", port: port, authority))
      try #require(made.status == 201, "\(made.text)")
      let map = try await world.send("POST", Self.maps, ["metadata": ["name": "a"]])
      try #require(map.status == 201, "\(map.text)")
      #expect(map.json["metadata"]?["labels"]?["seen"] == "yes")
      #expect(map.headers["warning"]?.contains("mind the gap") == true)
      try await world.stop()
    }
  }

  @Test func aValidatingWebhookRefuses() async throws {
    try await withHook { asked in
      let isGood = asked["operation"] == "CREATE"
      return ["allowed": .bool(isGood), "status": ["message": "no", "code": 409]]
    } _: { port, authority in
      let world = try await TestServer()
      try await world.send(
        "POST", Self.validating, Self.configuration("ValidatingWebhookConfiguration", port: port, authority))
      #expect(try await world.send("POST", Self.maps, ["metadata": ["name": "a"]]).status == 201)
      let update = try await world.send(
        "PATCH", "\(Self.maps)/a", ["data": ["a": "b"]], type: "application/merge-patch+json")
      #expect(update.status == 409)
      #expect(update.message == #"admission webhook "maps.hooks.example" denied the request: no"#)
      let deletion = try await world.send("DELETE", "\(Self.maps)/a")
      #expect(deletion.message == #"admission webhook "maps.hooks.example" denied the request: no"#)
      try await world.stop()
    }
  }

  @Test(arguments: [("Fail", 500), ("Ignore", 201)])
  func aWebhookThatIsAwayFailsAsItsPolicySays(_ policy: String, _ code: Int) async throws {
    let world = try await TestServer()
    // Port 1 of loopback: nobody is there.
    try await world.send(
      "POST", Self.validating,
      Self.configuration(
        "ValidatingWebhookConfiguration", port: 1, Array("PEM".utf8), failurePolicy: .string(policy)))
    let answer = try await world.send("POST", Self.maps, ["metadata": ["name": "a"]])
    #expect(answer.status == code)
    if code == 500 { #expect(answer.message.contains(#"failed calling webhook "maps.hooks.example""#)) }
    try await world.stop()
  }

  private static func changed(_ configuration: JSONValue, _ change: (inout JSONObject) -> Void) throws -> JSONValue {
    var object = try #require(configuration.object)
    var hook = try #require(object["webhooks"]?[0]?.object)
    change(&hook)
    object["webhooks"] = [.object(hook)]
    return .object(object)
  }

  @Test func conditionsSayOfWhatAWebhookIsAsked() async throws {
    try await withHook { _ in
      ["allowed": false]
    } _: { port, authority in
      let world = try await TestServer()
      let made = try await world.send(
        "POST", Self.validating,
        try Self.changed(Self.configuration("ValidatingWebhookConfiguration", port: port, authority)) {
          $0["matchConditions"] = [
            ["name": "named", "expression": "object.metadata.name.startsWith('a')"],
            ["name": "with-data", "expression": "request.operation != 'CREATE' || object.data.size() > 0"],
          ]
        })
      try #require(made.status == 201, "\(made.text)")
      #expect(try await world.send("POST", Self.maps, ["metadata": ["name": "b"]]).status == 201)
      #expect(try await world.send("POST", Self.maps, ["metadata": ["name": "a"], "data": ["a": "b"]]).status == 403)
      let broken = try await world.send("POST", Self.maps, ["metadata": ["name": "a"]])
      #expect(broken.message.contains("match condition \"with-data\": no such key: data"))
      try await world.stop()
    }
  }

  @Test(arguments: [("Equivalent", 403), ("Exact", 201)])
  func anotherVersionOfTheSameObjectIsTheSame(_ policy: String, _ code: Int) async throws {
    try await withHook { asked in
      let isRight =
        asked["kind"]?["version"] == "v2" && asked["requestKind"]?["version"] == "v1"
        && asked["object"]?["apiVersion"] == "autoscaling/v2"
        && asked.at(["object", "spec", "metrics"])?[0]?["resource"]?["name"] == "cpu"
      return ["allowed": .bool(!isRight)]
    } _: { port, authority in
      let world = try await TestServer()
      try await world.send(
        "POST", Self.validating,
        try Self.changed(Self.configuration("ValidatingWebhookConfiguration", port: port, authority)) {
          $0["matchPolicy"] = .string(policy)
          $0["rules"] = [
            [
              "apiGroups": ["autoscaling"], "apiVersions": ["v2"], "resources": ["horizontalpodautoscalers"],
              "operations": ["CREATE"],
            ]
          ]
        })
      let answer = try await world.send(
        "POST", "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
        [
          "metadata": ["name": "h"],
          "spec": [
            "maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
            "scaleTargetRef": ["kind": "Deployment", "name": "d", "apiVersion": "apps/v1"],
          ],
        ])
      #expect(answer.status == code, "\(answer.text)")
      try await world.stop()
    }
  }

  @Test func rulesSayWhatIsAsked() throws {
    var hook = MutatingWebhook()
    var rule = RuleWithOperations()
    (rule.apiGroups, rule.apiVersions, rule.operations) = (["apps"], ["*"], ["CREATE"])
    rule.resources = ["deployments", "*/scale"]
    hook.rules = [rule]
    var selector = LabelSelector()
    selector.matchLabels = ["tier": "web"]
    hook.objectSelector = selector
    func action(_ operation: String, _ resource: String, _ sub: String = "", tier: String = "web") -> Bool {
      AdmissionAction(
        operation: operation, group: "apps", version: "v1", resource: resource, subresource: sub, isNamespaced: true,
        namespaceLabels: [:], labels: [["tier": tier]]
      ).concerns(Webhook(hook))
    }
    #expect(action("CREATE", "deployments") && action("CREATE", "replicasets", "scale"))
    #expect(!action("UPDATE", "deployments") && !action("CREATE", "replicasets"))
    #expect(!action("CREATE", "deployments", "status") && !action("CREATE", "deployments", tier: "db"))
  }
}
