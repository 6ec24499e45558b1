import KubeModel
import KubeValidation
import Testing

@Suite struct OtherKindsTests {
  static let documents: [Case] = [
    Case(
      "keys of a ConfigMap",
      "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: x}, data: {..: a, b: c}, binaryData: {b: YQ==}}",
      "data[..]: Invalid value: \"..\": must not be '..'",
      "data[b]: Invalid value: \"b\": duplicate of key present in binaryData"),
    Case(
      "a large ConfigMap",
      "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: x}, data: {a: \(String(repeating: "x", count: (1 << 20) + 1))}}",
      "[]: Too long: may not be more than 1048576 bytes"),
    Case(
      "a certificate without its key",
      "{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: x}, type: kubernetes.io/tls, data: {tls.crt: YQ==}}",
      "data[tls.key]: Required value"),
    Case(
      "a registry's secret is not told",
      "{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: x}, type: kubernetes.io/dockerconfigjson, data: {.dockerconfigjson: YQ==}}",
      "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": unexpected character"),
    Case(
      "a lease",
      "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: a, namespace: x}, spec: {leaseDurationSeconds: 0, leaseTransitions: -1}}",
      "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
      "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"),
    Case(
      "a binding", "{apiVersion: v1, kind: Binding, metadata: {name: a, namespace: x}, target: {kind: Pod}}",
      "target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\"",
      "target.name: Required value"),
    Case(
      "an event of another namespace",
      "{apiVersion: v1, kind: Event, metadata: {name: a, namespace: x}, involvedObject: {kind: Pod, name: p, namespace: z}}",
      "involvedObject.namespace: Invalid value: \"z\": does not match event.namespace"),
    Case(
      "a new event without its reporter",
      "{apiVersion: v1, kind: Event, metadata: {name: a, namespace: x}, eventTime: '2026-01-01T00:00:00.000000Z', involvedObject: {namespace: x}, reason: R, action: A}",
      "reportingController: Required value", "reportingInstance: Required value"),
    Case(
      "a node",
      "{apiVersion: v1, kind: Node, metadata: {name: node1}, spec: {podCIDRs: [10.0.0.1/24, x], taints: [{key: a, effect: NoSchedule}, {key: a, effect: NoSchedule}]}, status: {capacity: {pods: 1500m}}}",
      """
      metadata.taints[1]: Duplicate value: {"effect":"NoSchedule","key":"a"}: taints must be unique by key and effect pair
      """,
      "status.capacity.pods: Invalid value: \"1500m\": must be an integer",
      "spec.podCIDRs[0]: Invalid value: \"10.0.0.1/24\": must not have bits set beyond the prefix length",
      "spec.podCIDRs[1]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
      "spec.podCIDRs: Invalid value: [\"10.0.0.1/24\",\"x\"]: may specify no more than one CIDR for each IP family"),
    Case(
      "a slice",
      """
      {apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a, namespace: x}, addressType: IPv4,
       endpoints: [{addresses: []}, {addresses: [127.0.0.1]}, {addresses: ['fd00::1']}], ports: [{name: a}, {name: a}]}
      """,
      "endpoints[0].addresses: Required value: must contain at least 1 address",
      """
      endpoints[1].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)
      """,
      "endpoints[2].addresses[0]: Invalid value: \"fd00::1\": must be a valid IPv4 address",
      "ports[1].name: Duplicate value: \"a\""),
  ]
  @Test(arguments: documents) func kindsHaveTheirRules(_ each: Case) throws {
    #expect(try createErrors(each.yaml) == each.messages)
  }

  static let updates: [(String, String, [String])] = [
    (
      "{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: x}, type: a, immutable: true, data: {k: YQ==}}",
      "{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: x}, type: b, data: {k: Yg==}}",
      [
        "type: Invalid value: \"b\": field is immutable",
        "immutable: Forbidden: field is immutable when `immutable` is set",
        "data: Forbidden: field is immutable when `immutable` is set",
      ]
    ),
    (
      "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: x}, immutable: true, data: {k: a}}",
      "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: x}, immutable: true, data: {k: b}}",
      ["data: Forbidden: field is immutable when `immutable` is set"]
    ),
    (
      "{apiVersion: v1, kind: Node, metadata: {name: a}, spec: {podCIDRs: [10.0.0.0/24], providerID: p}}",
      "{apiVersion: v1, kind: Node, metadata: {name: a}, spec: {podCIDRs: [10.0.1.0/24]}}",
      [
        "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
        "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
      ]
    ),
    (
      "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a, namespace: x}, addressType: IPv4}",
      "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a, namespace: x}, addressType: IPv6}",
      ["addressType: Invalid value: \"IPv6\": field is immutable"]
    ),
  ]
  @Test(arguments: updates) func someFieldsStay(_ old: String, _ new: String, _ messages: [String]) throws {
    #expect(try updateErrors(new, old: old) == messages)
  }

  @Test func aNamespaceEndsWhenItIsDeleted() throws {
    let old = "{apiVersion: v1, kind: Namespace, metadata: {name: a}}"
    #expect(
      try statusErrors("{apiVersion: v1, kind: Namespace, metadata: {name: a}, status: {phase: Terminating}}", old: old)
        == ["status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"])
  }

  @Test func whatADecoderFoundIsToldInTheSameWords() {
    let problem = FieldProblem(path: "spec.replicas", kind: .required)
    #expect(FieldError(problem).message == "spec.replicas: Required value")
    let choice = FieldProblem(path: "spec.type", kind: .unsupportedValue(found: "X", supported: ["A", "B"]))
    #expect(FieldError(choice).message == "spec.type: Unsupported value: \"X\": supported values: \"A\", \"B\"")
  }
}
