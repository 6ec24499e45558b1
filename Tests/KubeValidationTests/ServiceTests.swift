import KubeValidation
import Testing

@Suite struct ServiceTests {
  static let services: [Case] = [
    Case("a good one", service("ports: [{port: 80, targetPort: web}]\nselector: {app: web}")),
    Case("no ports", service("selector: {app: web}"), "spec.ports: Required value"),
    Case("headless needs none", service("clusterIP: None")),
    Case("a name for a name", service("type: ExternalName\nexternalName: example.com.")),
    Case(
      "its name is a label",
      "{apiVersion: v1, kind: Service, metadata: {name: 1a_, namespace: default}, spec: {ports: [{port: 80}]}}",
      """
      metadata.name: Invalid value: "1a_": a lowercase RFC 1123 label must consist of lower case alphanumeric \
      characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex \
      used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
      """),
    Case(
      "its name may begin with a digit",
      "{apiVersion: v1, kind: Service, metadata: {name: 1a, namespace: default}, spec: {ports: [{port: 80}]}}"),
    Case(
      "ports",
      service(
        "ports: [{port: 80}, {port: 0, name: a}, {port: 81, name: a, protocol: ICMP, targetPort: 70000}, {port: 80, name: b}]"
      ),
      "spec.ports[0].name: Required value",
      "spec.ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
      "spec.ports[2].name: Duplicate value: \"a\"",
      "spec.ports[2].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
      "spec.ports[2].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
      "spec.ports[3]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}"),
    Case(
      "a node's port", service("ports: [{port: 80, nodePort: 30000}]"),
      "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"),
    Case(
      "one node port twice",
      service("type: NodePort\nports: [{name: a, port: 80, nodePort: 30000}, {name: b, port: 81, nodePort: 30000}]"),
      "spec.ports[1].nodePort: Duplicate value: 30000"),
    Case(
      "type", service("type: Magic\nports: [{port: 80}]"),
      """
      spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"
      """),
    Case(
      "an address that is none", service("ports: [{port: 80}]\nclusterIP: 10.96.0.300"),
      """
      spec.clusterIPs[0]: Invalid value: "10.96.0.300": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
      """),
    Case(
      "an address of another family", service("ports: [{port: 80}]\nclusterIP: 10.96.0.3\nipFamilies: [IPv6]"),
      """
      spec.clusterIPs[0]: Invalid value: "10.96.0.3": expected an IPv6 value as indicated by `ipFamilies[0]`
      """),
    Case(
      "no name for a name", service("type: ExternalName\nclusterIP: 10.96.0.1"),
      "spec.clusterIPs: Forbidden: may not be set for ExternalName services", "spec.externalName: Required value"),
    Case(
      "a selector", service("ports: [{port: 80}]\nselector: {app: 'a b'}"),
      """
      spec.selector: Invalid value: "a b": a valid label must be an empty string or consist of alphanumeric characters, \
      '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or \
      '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
      """),
    Case(
      "affinity",
      service("ports: [{port: 80}]\nsessionAffinity: ClientIP\nsessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}"),
      """
      spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400
      """),
    Case(
      "external addresses", service("ports: [{port: 80}]\nexternalIPs: [127.0.0.1, 169.254.1.1, x]"),
      "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
      """
      spec.externalIPs[1]: Invalid value: "169.254.1.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)
      """,
      "spec.externalIPs[2]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
    Case(
      "policies", service("ports: [{port: 80}]\nexternalTrafficPolicy: Local\ninternalTrafficPolicy: None"),
      """
      spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services
      """,
      "spec.internalTrafficPolicy: Unsupported value: \"None\": supported values: \"Cluster\", \"Local\""),
  ]
  @Test(arguments: services) func servicesAreChecked(_ each: Case) throws {
    #expect(try createErrors(each.yaml) == each.messages)
  }

  static let updates: [(String, String, [String])] = [
    ("clusterIP: 10.96.0.1", "clusterIP: 10.96.0.1", []),
    (
      "clusterIP: 10.96.0.1", "clusterIP: 10.96.0.2",
      [
        "spec.clusterIPs[0]: Invalid value: [\"10.96.0.2\"]: may not change once set"
      ]
    ),
    ("clusterIP: 10.96.0.1", "{}", ["spec.clusterIPs[0]: Invalid value: []: primary clusterIP can not be unset"]),
    ("clusterIP: 10.96.0.1", "type: ExternalName\nexternalName: a.b", []),
    (
      "clusterIP: 10.96.0.1\nipFamilies: [IPv4]", "clusterIP: 10.96.0.1\nipFamilies: [IPv6]",
      [
        "spec.ipFamilies[0]: Invalid value: [\"IPv6\"]: may not change once set",
        "spec.clusterIPs[0]: Invalid value: \"10.96.0.1\": expected an IPv6 value as indicated by `ipFamilies[0]`",
      ]
    ),
  ]
  @Test(arguments: updates) func theAddressStays(_ old: String, _ new: String, _ messages: [String]) throws {
    func with(_ spec: String) -> String { service("ports: [{port: 80}]\n\(spec == "{}" ? "" : spec)") }
    #expect(try updateErrors(with(new), old: with(old)) == messages)
  }

  @Test func onlyLoadBalancersHaveIngress() throws {
    let new = service("ports: [{port: 80}]") + "\nstatus: {loadBalancer: {ingress: [{ip: 10.0.0.1}]}}"
    #expect(
      try statusErrors(new, old: service("ports: [{port: 80}]")) == [
        "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
      ])
  }
}
