import JSON
import KubeValidation
import Testing

private let subdomain = """
  a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end \
  with an alphanumeric character (e.g. 'example.com', regex used for validation is \
  '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
  """
private let label = """
  a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an \
  alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
  """
private let namePart = """
  name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
  character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
  '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
  """
private let labelValue = """
  a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end \
  with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
  '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
  """

@Suite struct MetadataTests {
  static let names: [(String, [String])] = [
    ("web", []), ("web-1.example", []), ("0", []), (String(repeating: "a", count: 253), []),
    ("Web", [subdomain]), ("-web", [subdomain]), ("web-", [subdomain]), ("a..b", [subdomain]), ("a_b", [subdomain]),
    ("", [subdomain]), (String(repeating: "a", count: 254), ["must be no more than 253 characters"]),
  ]
  @Test(arguments: names) func namesOfMostObjectsAreSubdomains(_ name: String, _ messages: [String]) {
    #expect(NameRules.dnsSubdomain(name) == messages)
  }

  static let labels: [(String, [String])] = [
    ("web", []), ("123", []), ("a.b", ["must not contain dots"]), ("Web", [label]), ("", [label]),
    (String(repeating: "a", count: 64), ["must be no more than 63 characters"]),
  ]
  @Test(arguments: labels) func someNamesAreLabels(_ name: String, _ messages: [String]) {
    #expect(NameRules.dnsLabel(name) == messages)
  }

  static let qualified: [(String, [String])] = [
    ("app", []), ("example.com/App_1", []), ("kubernetes.io/os", []),
    ("/app", ["prefix part must be non-empty"]), ("a b", [namePart]), ("", ["name part must be non-empty", namePart]),
    ("Example/app", ["prefix part \(subdomain)"]),
    (String(repeating: "a", count: 64), ["name part must be no more than 63 bytes"]),
    (
      "a/b/c",
      [
        """
        a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
        alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
        '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. \
        'example.com/MyName')
        """
      ]
    ),
  ]
  @Test(arguments: qualified) func keysAreNamesWithAPrefix(_ name: String, _ messages: [String]) {
    #expect(NameRules.qualifiedName(name) == messages)
  }

  @Test(arguments: [("", []), ("v1", []), ("a_b.c-d", []), ("a b", [labelValue]), ("-a", [labelValue])])
  func labelValuesAreShortWords(_ value: String, _ messages: [String]) {
    #expect(NameRules.labelValue(value) == messages)
  }

  static let objects: [Case] = [
    Case("a good one", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: default}}"),
    Case(
      "no name", "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: default}}",
      "metadata.name: Required value: name or generateName is required"),
    Case(
      "no namespace", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", "metadata.namespace: Required value"),
    Case(
      "a namespace where there is none", "{apiVersion: v1, kind: Node, metadata: {name: a, namespace: b}}",
      "metadata.namespace: Forbidden: not allowed on this type"),
    Case(
      "a bad namespace", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: B}}",
      "metadata.namespace: Invalid value: \"B\": \(label)"),
    Case(
      "a namespace's name is a label", "{apiVersion: v1, kind: Namespace, metadata: {name: a.b}}",
      "metadata.name: Invalid value: \"a.b\": must not contain dots"),
    Case(
      "a prefix may end in a dash",
      "{apiVersion: v1, kind: ConfigMap, metadata: {name: a-xyz, generateName: a-, namespace: default}}"),
    Case(
      "labels", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: default, labels: {'a b': 'c d'}}}",
      "metadata.labels: Invalid value: \"a b\": \(namePart)",
      "metadata.labels: Invalid value: \"c d\": \(labelValue)"),
    Case(
      "annotations",
      "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: default, annotations: {'a b': x}}}",
      "metadata.annotations: Invalid value: \"a b\": \(namePart)"),
    Case(
      "large annotations",
      """
      {apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: default,
       annotations: {a: \(String(repeating: "x", count: 262144))}}}
      """,
      "metadata.annotations: Too long: may not be more than 262144 bytes"),
    Case(
      "owners",
      """
      {apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: default, ownerReferences: [
       {apiVersion: v1, kind: Pod, name: p, uid: u, controller: true},
       {apiVersion: a/b/c, kind: '', name: '', uid: '', controller: true}]}}
      """,
      "metadata.ownerReferences[1].apiVersion: Invalid value: \"a/b/c\": must be <group>/<version> or <version>",
      "metadata.ownerReferences[1].kind: Required value: must not be empty",
      "metadata.ownerReferences[1].name: Required value: must not be empty",
      "metadata.ownerReferences[1].uid: Required value: must not be empty",
      """
      metadata.ownerReferences: Invalid value: \
      [{"apiVersion":"v1","controller":true,"kind":"Pod","name":"p","uid":"u"},\
      {"apiVersion":"a/b/c","controller":true,"kind":"","name":"","uid":""}]: \
      Only one reference can have Controller set to true. Found "true" in references for Pod/p and /
      """),
    Case(
      "finalizers",
      "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: default, finalizers: [mine, orphan, foregroundDeletion]}}",
      """
      metadata.finalizers: Invalid value: ["mine","orphan","foregroundDeletion"]: finalizer orphan and \
      foregroundDeletion cannot be both set
      """,
      """
      metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified
      """),
  ]
  @Test(arguments: objects) func metadataIsChecked(_ each: Case) throws {
    #expect(try createErrors(each.yaml) == each.messages)
  }

  @Test func whatNamesAnObjectDoesNotChange() throws {
    let old =
      "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: x, uid: u1, creationTimestamp: '2026-01-01T00:00:00Z'}}"
    let new =
      "{apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: z, uid: u2, creationTimestamp: '2026-01-02T00:00:00Z'}}"
    #expect(
      try updateErrors(new, old: old) == [
        "metadata.name: Invalid value: \"b\": field is immutable",
        "metadata.namespace: Invalid value: \"z\": field is immutable",
        "metadata.uid: Invalid value: \"u2\": field is immutable",
        "metadata.creationTimestamp: Invalid value: \"2026-01-02T00:00:00Z\": field is immutable",
      ])
    #expect(try updateErrors("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: x}}", old: old) == [])
  }

  @Test func nothingHoldsUpAnObjectThatIsBeingDeleted() throws {
    let metadata = "name: a, namespace: x, deletionTimestamp: '2026-01-01T00:00:00Z'"
    #expect(
      try updateErrors(
        "{apiVersion: v1, kind: ConfigMap, metadata: {\(metadata), finalizers: [a.b/c]}}",
        old: "{apiVersion: v1, kind: ConfigMap, metadata: {\(metadata)}}") == [
          """
          metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
          finalizers []string{"a.b/c"}
          """
        ])
  }

  @Test func aStatusTellsEachMessageOnce() {
    let twice = FieldError(path: "spec.a", reason: .required)
    let other = FieldError(path: "spec.b", reason: .invalid, value: -1, detail: "must be greater than or equal to 0")
    #expect(
      FieldError.statusMessage(kind: "Pod", group: "", name: "web", errors: [twice, twice])
        == "Pod \"web\" is invalid: spec.a: Required value")
    #expect(
      FieldError.statusMessage(kind: "Deployment", group: "apps", name: "web", errors: [twice, other])
        == """
        Deployment.apps "web" is invalid: [spec.a: Required value, spec.b: Invalid value: -1: must be greater than or \
        equal to 0]
        """)
    #expect(twice.causeReason == "FieldValueRequired")
    #expect(other.causeReason == "FieldValueInvalid")
  }

  @Test func anAnswerHasAnEnd() throws {
    let names = (0..<500).map { "{name: 'A\($0)', image: x}" }.joined(separator: ",")
    let errors = try createErrors(pod("containers: [\(names)]"))
    #expect(errors.count == 201)
    #expect(errors.last == "metadata: Too many: 300 more errors in this object")
  }
}
