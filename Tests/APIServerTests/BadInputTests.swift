import HTTPServer
import JSON
import Testing

@testable import APIServer

/// Whatever comes in, the answer is the Status that clients expect.
@Suite struct BadInputTests {
  static let maps = "/api/v1/namespaces/default/configmaps"

  struct Case: Sendable, CustomStringConvertible {
    var method = "POST"
    var target = BadInputTests.maps
    var body = ""
    var type: String?
    let code: Int
    let reason: String
    let message: String
    var description: String { "\(method) \(target) \(body.prefix(60))" }
  }

  static let cases: [Case] = [
    Case(
      body: "", code: 400, reason: "BadRequest",
      message: "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse "
        + "error: JSON, byte 0: ends too early (<empty>)"),
    Case(
      body: #"{"kind":"#, code: 400, reason: "BadRequest",
      message: "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse "
        + #"error: JSON, byte 8: ends too early ({"kind":)"#),
    Case(
      body: "[1]", code: 400, reason: "BadRequest",
      message: "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse "
        + "error: json: cannot unmarshal array into Go value of type struct { APIVersion string; Kind string }"),
    Case(
      body: #"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#, code: 400, reason: "BadRequest",
      message: #"Pod in version "v1" cannot be handled as a ConfigMap: no kind "Pod" is served here"#),
    Case(
      body: #"{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"a"}}"#, code: 400, reason: "BadRequest",
      message: "the API version in the data (v2) does not match the expected API version (v1)"),
    Case(
      target: "\(maps)?fieldValidation=Strict",
      body: #"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"dataa":{"foo":"x"}}"#, code: 400,
      reason: "BadRequest",
      message: #"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "#
        + #""dataa""#),
    Case(
      target: "/apis/apps/v1/namespaces/default/deployments",
      body: #"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":"x"}}"#, code: 400,
      reason: "BadRequest",
      message: #"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go "#
        + "struct field DeploymentSpec.spec.replicas of type int32"),
    Case(
      body: #"{"metadata":{"name":"a","resourceVersion":"1"}}"#, code: 400, reason: "BadRequest",
      message: "resourceVersion should not be set on objects to be created"),
    Case(
      body: #"{"metadata":{"name":"a","namespace":"other"}}"#, code: 400, reason: "BadRequest",
      message: "the namespace of the provided object does not match the namespace sent on the request"),
    Case(
      target: "/api/v1/namespaces/none/configmaps", body: #"{"metadata":{"name":"a"}}"#, code: 404, reason: "NotFound",
      message: #"namespaces "none" not found"#),
    Case(
      target: "/api/v1/namespaces/default/pods",
      body: #"{"metadata":{"name":"p"},"spec":{"restartPolicy":"Maybe","containers":[{"image":"i","ports":[{}]}]}}"#,
      code: 422, reason: "Invalid",
      message:
        #"Pod "p" is invalid: [spec.containers[0].name: Required value, spec.containers[0].ports[0].containerPort: "#
        + #"Required value, spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "#
        + #""Never"]"#),
    Case(
      body: "{}", code: 422, reason: "Invalid",
      message: #"ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required"#),
    Case(
      target: "\(maps)?fieldValidation=No", body: #"{"metadata":{"name":"a"}}"#, code: 422, reason: "Invalid",
      message: #"CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "No": supported values: "#
        + #""Ignore", "Strict", "Warn""#),
    Case(
      target: "\(maps)?dryRun=Some", body: #"{"metadata":{"name":"a"}}"#, code: 422, reason: "Invalid",
      message: #"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: "Some": supported values: "All""#),
    Case(
      body: "x", type: "text/plain", code: 415, reason: "UnsupportedMediaType",
      message: "the body of the request was in an unknown format - accepted media types include: application/json, "
        + "application/yaml, application/vnd.kubernetes.protobuf"),
    Case(
      method: "PATCH", target: "\(maps)/a", body: "{}", type: "application/json", code: 415,
      reason: "UnsupportedMediaType",
      message: "the body of the request was in an unknown format - accepted media types include: "
        + "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, "
        + "application/apply-patch+yaml"),
    Case(
      method: "PATCH", target: "\(maps)/a", body: "a: b", type: "application/apply-patch+yaml", code: 422,
      reason: "Invalid",
      message: "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"),
    Case(
      method: "PATCH", target: "\(maps)/a", body: "[]", type: "application/merge-patch+json", code: 400,
      reason: "BadRequest",
      message: "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"),
    Case(
      method: "PUT", target: maps, body: "{}", code: 405, reason: "MethodNotAllowed",
      message: "the server does not allow this method on the requested resource"),
    Case(
      method: "POST", target: "\(maps)/a", body: "{}", code: 405, reason: "MethodNotAllowed",
      message: "the server does not allow this method on the requested resource"),
    Case(
      method: "POST", target: "/api/v1/configmaps", body: "{}", code: 405, reason: "MethodNotAllowed",
      message: "the server does not allow this method on the requested resource"),
    Case(
      method: "DELETE", target: "/api/v1/namespaces", code: 405, reason: "MethodNotAllowed",
      message: "the server does not allow this method on the requested resource"),
    Case(
      method: "DELETE", target: "/api/v1/namespaces/default", code: 403, reason: "Forbidden",
      message: #"namespaces "default" is forbidden: this namespace may not be deleted"#),
    Case(
      method: "GET", target: "\(maps)?fieldSelector=data.k%3Dv", code: 400, reason: "BadRequest",
      message: "field label not supported: data.k"),
    Case(
      method: "GET", target: "\(maps)?limit=x", code: 400, reason: "BadRequest",
      message: #"strconv.ParseInt: parsing "x": invalid syntax"#),
    Case(
      method: "GET", target: "\(maps)?continue=abc", code: 400, reason: "BadRequest",
      message: "continue key is not valid: it was not given by this server"),
    Case(
      method: "GET", target: "\(maps)?resourceVersion=abc", code: 400, reason: "BadRequest",
      message: #"resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax"#),
    Case(
      method: "GET", target: "\(maps)?resourceVersion=99999", code: 504, reason: "Timeout",
      message: "Too large resource version: 99999, current: "),
    Case(
      method: "GET", target: "\(maps)?resourceVersionMatch=Exact", code: 422, reason: "Invalid",
      message: #"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is "#
        + "forbidden unless resourceVersion is provided"),
    Case(
      method: "GET", target: "\(maps)?watch=1&sendInitialEvents=true", code: 422, reason: "Invalid",
      message: #"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires "#
        + "setting resourceVersionMatch to NotOlderThan"),
    Case(
      method: "DELETE", target: "\(maps)/kube-root-ca.crt", body: #"{"propagationPolicy":"Maybe"}"#, code: 422,
      reason: "Invalid",
      message: #"DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Maybe": supported "#
        + #"values: "Background", "Foreground", "Orphan""#),
    Case(
      method: "PUT", target: "\(maps)/a", body: #"{"metadata":{"name":"b"}}"#, code: 400, reason: "BadRequest",
      message: "the name of the object (b) does not match the name on the URL (a)"),
    Case(
      method: "PUT", target: "\(maps)/a", body: #"{"metadata":{"name":"a"}}"#, code: 404, reason: "NotFound",
      message: #"configmaps "a" not found"#),
  ]

  @Test(arguments: cases) func badInputGetsItsStatus(_ example: Case) async throws {
    let world = try await TestServer()
    let answer = try await world.send(example.method, example.target, text: example.body, type: example.type)
    #expect(answer.status == example.code)
    #expect(answer.reason == example.reason)
    #expect(answer.message.hasPrefix(example.message), "\(answer.message)")
    #expect(answer.json["status"] == "Failure")
    #expect(answer.json["code"]?.integer == Int64(example.code))
    try await world.stop()
  }

  @Test func aDocumentTooDeepOrTooLongIsRefused() async throws {
    let world = try await TestServer()
    let deep = String(repeating: "[", count: 100_000)
    let answer = try await world.send("POST", Self.maps, text: deep)
    #expect(answer.status == 400)
    #expect(answer.message.contains("nested deeper than 64"))
    let long = String(repeating: "x", count: (3 << 20) + 1)
    let large = try await world.send("POST", Self.maps, text: long)
    #expect(large.status == 413)
    #expect(large.reason == "RequestEntityTooLarge")
    #expect(large.message == "Request entity is too large: limit is 3145728")
    let operations =
      "[" + String(repeating: #"{"op":"test","path":"/a","value":1},"#, count: 10_000)
      + #"{"op":"test","path":"/a","value":1}]"#
    let patch = try await world.send("PATCH", "\(Self.maps)/a", text: operations, type: "application/json-patch+json")
    #expect(patch.status == 413)
    #expect(patch.message == "The allowed maximum operations in a JSON patch is 10000, got 10001")
    try await world.stop()
  }

  @Test(arguments: [
    "/nothing", "/api/v1/namespaces/default/foos", "/apis/none/v1/things", "/api/v2/pods",
    "/api/v1/namespaces/default/pods/a/nothing", "/api/v1/namespaces/default/nodes",
    "/api/v1/namespaces/default/pods/a%2Fb",
  ])
  func aPathThatLeadsNowhereIsAPlainPage(_ path: String) async throws {
    let world = try await TestServer()
    let answer = try await world.send("GET", path)
    #expect(answer.status == 404)
    #expect(answer.text == "404 page not found\n")
    try await world.stop()
  }

  @Test func anUnknownFieldIsWarnedOfAndDropped() async throws {
    let world = try await TestServer()
    let body: JSONValue = ["metadata": ["name": "a"], "dataa": ["k": "v"], "data": ["k": "v"]]
    let answer = try await world.send("POST", Self.maps, body)
    #expect(answer.status == 201)
    #expect(answer.headers["warning"] == #"299 - "unknown field \"dataa\"""#)
    #expect(answer.json["dataa"] == nil)
    let silent = try await world.send(
      "POST", "\(Self.maps)?fieldValidation=Ignore",
      [
        "metadata": ["name": "b"], "dataa": ["k": "v"],
      ])
    #expect(silent.status == 201)
    #expect(silent.headers["warning"] == nil)
    try await world.stop()
  }

  @Test func nobodyIsLetInUnproven() async throws {
    let world = try await TestServer()
    let answer = try await world.send("GET", Self.maps, peer: .anonymous)
    #expect(answer.status == 401)
    #expect(answer.reason == "Unauthorized")
    #expect(try await world.send("GET", "/readyz", peer: .anonymous).status == 200)
    let other = try await world.send("GET", Self.maps, peer: .certificate(commonName: "eve", organizations: []))
    #expect(other.status == 403)
    try await world.stop()
  }

  @Test func moreThanTheServerBearsIsToldToComeBack() async throws {
    let world = try await TestServer { $0.readsInFlightMax = 0 }
    let answer = try await world.send("GET", Self.maps)
    #expect(answer.status == 429)
    #expect(answer.headers["retry-after"] == "1")
    #expect(answer.reason == "TooManyRequests")
    try await world.stop()
    let few = try await TestServer { $0.watchesMax = 0 }
    #expect(try await few.send("GET", "\(Self.maps)?watch=1").status == 429)
    try await few.stop()
  }
}
