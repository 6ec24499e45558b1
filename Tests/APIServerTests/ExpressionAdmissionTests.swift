import HTTPServer
import JSON
import Kernel
import KubeModel
import Logging
import TestSupport
import Testing

@testable import APIServer

/// Policies whose expressions are in CEL, and what admission has written down.
@Suite struct ExpressionAdmissionTests {
  private static let registration = "/apis/admissionregistration.k8s.io/v1"
  private static let deployments = "/apis/apps/v1/namespaces/default/deployments"

  private static func policy(_ change: (inout JSONObject) -> Void = { _ in }) -> JSONValue {
    var spec: JSONObject = [
      "failurePolicy": "Fail",
      "matchConstraints": [
        "resourceRules": [
          [
            "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
            "resources": ["deployments"],
          ]
        ]
      ],
      "validations": [["expression": "object.spec.replicas <= 5"]],
    ]
    change(&spec)
    return ["metadata": ["name": "few"], "spec": .object(spec)]
  }

  private static func binding(_ change: (inout JSONObject) -> Void = { _ in }) -> JSONValue {
    var spec: JSONObject = ["policyName": "few", "validationActions": ["Deny"]]
    change(&spec)
    return ["metadata": ["name": "everywhere"], "spec": .object(spec)]
  }

  private static func deployment(_ name: String, replicas: Int64, _ labels: JSONValue = [:]) -> JSONValue {
    [
      "metadata": ["name": .string(name), "labels": labels],
      "spec": [
        "replicas": .integer(replicas), "selector": ["matchLabels": ["a": "b"]],
        "template": ["metadata": ["labels": ["a": "b"]], "spec": ["containers": [["name": "c", "image": "i"]]]],
      ],
    ]
  }

  private func world(_ policy: JSONValue, _ binding: JSONValue) async throws -> TestServer {
    let world = try await TestServer()
    for (path, document) in [("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding)] {
      let made = try await world.send("POST", "\(Self.registration)/\(path)", document)
      try #require(made.status == 201, "\(made.text)")
    }
    return world
  }

  @Test func aPolicyRefusesWhatItsExpressionDoes() async throws {
    let world = try await world(Self.policy(), Self.binding())
    #expect(try await world.send("POST", Self.deployments, Self.deployment("a", replicas: 5)).status == 201)
    let many = try await world.send("POST", Self.deployments, Self.deployment("b", replicas: 6))
    #expect(many.status == 422 && many.reason == "Invalid")
    let words =
      "ValidatingAdmissionPolicy 'few' with binding 'everywhere' denied request: failed expression: "
      + "object.spec.replicas <= 5"
    #expect(many.message == #"deployments.apps "b" is forbidden: "# + words)
    #expect(many.json["details"]?["causes"]?[0]?["message"] == .string(words))
    let scaled = try await world.send(
      "PATCH", "\(Self.deployments)/a", ["spec": ["replicas": 9]], type: "application/merge-patch+json")
    #expect(scaled.status == 422)
    try await world.send("DELETE", "\(Self.registration)/validatingadmissionpolicybindings/everywhere")
    #expect(try await world.send("POST", Self.deployments, Self.deployment("b", replicas: 6)).status == 201)
    try await world.stop()
  }

  @Test func parametersVariablesAndConditionsAreThere() async throws {
    let world = try await world(
      Self.policy { spec in
        spec["paramKind"] = ["apiVersion": "v1", "kind": "ConfigMap"]
        spec["matchConditions"] = [
          ["name": "not-free", "expression": "!has(object.metadata.labels) || !('free' in object.metadata.labels)"],
          ["name": "not-ann", "expression": "request.userInfo.username != 'ann'"],
        ]
        spec["variables"] = [
          ["name": "most", "expression": "int(params.data.most)"],
          ["name": "unused", "expression": "object.spec.none"],
        ]
        spec["validations"] = [
          [
            "expression":
              "object.spec.replicas <= variables.most || authorizer.group('apps').resource('none').check('x').allowed() == false && false",
            "messageExpression": "'at most ' + string(variables.most) + ' in ' + namespaceObject.metadata.name",
            "reason": "Forbidden",
          ]
        ]
      },
      Self.binding { spec in
        spec["paramRef"] = ["name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"]
        spec["matchResources"] = ["namespaceSelector": ["matchLabels": ["kubernetes.io/metadata.name": "default"]]]
      })
    let none = try await world.send("POST", Self.deployments, Self.deployment("a", replicas: 1))
    #expect(none.message.contains("no params found for policy binding with `Deny` parameterNotFoundAction"))
    try await world.send(
      "POST", "/api/v1/namespaces/default/configmaps", ["metadata": ["name": "limits"], "data": ["most": "2"]])
    #expect(try await world.send("POST", Self.deployments, Self.deployment("a", replicas: 2)).status == 201)
    let many = try await world.send("POST", Self.deployments, Self.deployment("b", replicas: 3))
    #expect(many.status == 403 && many.message.hasSuffix("denied request: at most 2 in default"))
    #expect(
      try await world.send("POST", Self.deployments, Self.deployment("b", replicas: 3, ["free": "yes"])).status == 201)
    try await world.stop()
  }

  @Test(arguments: [("Fail", 422), ("Ignore", 201)])
  func anExpressionThatFailsDoesAsThePolicySays(_ policy: String, _ code: Int) async throws {
    let world = try await world(
      Self.policy { spec in
        spec["failurePolicy"] = .string(policy)
        spec["validations"] = [["expression": "object.spec.missing == 1"]]
      }, Self.binding())
    let answer = try await world.send("POST", Self.deployments, Self.deployment("a", replicas: 1))
    #expect(answer.status == code)
    if code == 422 {
      #expect(answer.message.hasSuffix("expression 'object.spec.missing == 1' resulted in error: no such key: missing"))
    }
    try await world.stop()
  }

  @Test func aBindingMayWarnOnly() async throws {
    let world = try await world(Self.policy(), Self.binding { $0["validationActions"] = ["Warn", "Audit"] })
    let answer = try await world.send("POST", Self.deployments, Self.deployment("a", replicas: 6))
    #expect(answer.status == 201)
    #expect(
      answer.headers["Warning"]?.contains(
        "Validation failed for ValidatingAdmissionPolicy 'few' with binding 'everywhere': failed expression") == true)
    try await world.stop()
  }

  @Test func whatAdmissionFindsIsWrittenDown() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    try Files.writeAtomically(
      "\(directory.path)/policy.yaml",
      Array(
        """
        apiVersion: audit.k8s.io/v1
        kind: Policy
        rules: [{level: Metadata, resources: [{group: apps}, {group: "", resources: [pods]}]}]
        """.utf8))
    let policy = try AuditPolicy(file: "\(directory.path)/policy.yaml")
    let log = try AuditLog(
      policy: policy, configuration: AuditLogConfiguration(file: "\(directory.path)/audit.log"),
      logger: Logger(label: "test"))
    let world = try await TestServer(audit: log)
    try await world.send(
      "POST", "\(Self.registration)/validatingadmissionpolicies",
      Self.policy { $0["auditAnnotations"] = [["key": "replicas", "valueExpression": "string(object.spec.replicas)"]] })
    try await world.send(
      "POST", "\(Self.registration)/validatingadmissionpolicybindings",
      Self.binding { $0["validationActions"] = ["Audit"] })
    try await world.send("POST", Self.deployments, Self.deployment("a", replicas: 6))
    try await world.send(
      "PATCH", "/api/v1/namespaces/default",
      ["metadata": ["labels": ["pod-security.kubernetes.io/audit": "restricted"]]], type: "application/merge-patch+json"
    )
    let pod = try await world.send(
      "POST", "/api/v1/namespaces/default/pods",
      ["metadata": ["name": "p"], "spec": ["containers": [["name": "c", "image": "i"]]]])
    #expect(pod.status == 201 && pod.headers["Warning"] == nil)
    await log.close()
    try await world.stop()
    let text = try Files.readText("\(directory.path)/audit.log") ?? ""
    let lines = try text.split(separator: "\n").map { try JSONValue.parse(String($0))["annotations"] ?? .null }
    let of = try #require(lines.first { $0["few/replicas"] != nil })
    #expect(of["few/replicas"] == "6")
    let failure = try JSONValue.parse(of["validation.policy.admission.k8s.io/validation_failure"]?.string ?? "")
    #expect(failure[0]?["policy"] == "few" && failure[0]?["expressionIndex"] == 0)
    let violations = lines.compactMap { $0["pod-security.kubernetes.io/audit-violations"]?.string }
    let violation = try #require(violations.first)
    #expect(violation.hasPrefix("would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false"))
  }
}
