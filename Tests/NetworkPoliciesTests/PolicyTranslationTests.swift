import Dataplane
import JSON
import Kernel
import KubeModel
import NetworkPolicies
import Testing

private func policy(_ spec: String, name: String = "p", namespace: String = "shop") throws -> NetworkPolicy {
  try NetworkPolicy(
    lenient: JSONValue.parse(#"{"metadata":{"name":"\#(name)","namespace":"\#(namespace)"},"spec":\#(spec)}"#))
}

private func pod(
  _ name: String, _ address: String, _ labels: String = "{}", namespace: String = "shop", ports: String = "[]",
  spec: String = "", phase: String = "Running"
) throws -> PolicyPod {
  let pod = try Pod(
    lenient: JSONValue.parse(
      #"{"metadata":{"name":"\#(name)","namespace":"\#(namespace)","uid":"\#(name)","labels":\#(labels)},"spec":{\#(spec)"nodeName":"n1","containers":[{"name":"c","image":"i","ports":\#(ports)}]},"status":{"phase":"\#(phase)","podIPs":[{"ip":"\#(address)"}]}}"#
    ))
  return try #require(PolicyPod(pod))
}

/// What a direction allows, a line a rule: `10.1.0.2,10.0.0.0/8-10.3.0.0/16 > TCP 80-80`.
private func text(_ names: [String]?, _ table: PolicyTable) throws -> [String] {
  guard let names else { return ["open"] }
  return try names.flatMap { try #require(table.policies[$0]).rules }.map { rule in
    let ports =
      rule.ports.map { ports in
        ports.map { port in
          let range = port.range.map { " \($0.lowerBound)-\($0.upperBound)" } ?? ""
          return port.transport.description.uppercased() + range
        }.joined(separator: " ")
      } ?? "all"
    guard let peers = rule.peers else { return "anywhere > \(ports)" }
    let sets = try peers.map { try #require(table.peers[$0]) }
    let addresses = sets.flatMap(\.addresses).sorted().map(\.description)
    let blocks = sets.flatMap(\.blocks).map { block in
      (["\(block.prefix)"] + block.except.map { "-\($0)" }).joined()
    }
    return "\((addresses + blocks).joined(separator: ",")) > \(ports)"
  }
}

/// A shop with a database, a shop's web server, and a stranger's pod.
private struct Cluster {
  let web: PolicyPod
  let database: PolicyPod
  let stranger: PolicyPod
  let namespaces = ["shop": ["team": "a"], "other": ["team": "b"]]

  init() throws {
    web = try pod("web", "10.1.0.2", #"{"app":"web"}"#, ports: #"[{"name":"http","containerPort":8080}]"#)
    database = try pod("db", "10.1.0.3", #"{"app":"db"}"#, ports: #"[{"name":"sql","containerPort":5432}]"#)
    stranger = try pod(
      "x", "10.2.0.9", #"{"app":"web"}"#, namespace: "other", ports: #"[{"name":"http","containerPort":9090}]"#)
  }

  /// What may reach the database, and what it may reach.
  func allowed(_ policies: [NetworkPolicy]) throws -> (
    ingress: [String], egress: [String], problems: [String: [String]]
  ) {
    var translation = PolicyTranslation(
      policies: policies, namespaces: namespaces, pods: [web, database, stranger])
    translation.add(database)
    let pod = translation.table.pods.first
    return (
      try text(pod?.ingress, translation.table), try text(pod?.egress, translation.table), translation.problems
    )
  }
}

@Suite struct PolicyTranslationTests {
  @Test func aPodThatNoPolicySelectsIsOpen() throws {
    let cluster = try Cluster()
    var translation = PolicyTranslation(
      policies: [
        try policy(#"{"podSelector":{"matchLabels":{"app":"web"}}}"#),
        try policy(#"{"podSelector":{}}"#, namespace: "other"),
      ], namespaces: cluster.namespaces, pods: [cluster.web, cluster.database, cluster.stranger])
    translation.add(cluster.database)
    #expect(translation.table == PolicyTable())
  }

  /// What reaches the database, whose address is 10.1.0.3, for each form of rule.
  @Test(arguments: [
    (#"{"podSelector":{}}"#, []),
    (#"{"podSelector":{},"ingress":[{}]}"#, ["anywhere > all"]),
    (
      #"{"podSelector":{},"ingress":[{"from":[{"podSelector":{"matchLabels":{"app":"web"}}}]}]}"#,
      ["10.1.0.2 > all"]
    ),
    (
      #"{"podSelector":{},"ingress":[{"from":[{"namespaceSelector":{"matchLabels":{"team":"b"}}}]}]}"#,
      ["10.2.0.9 > all"]
    ),
    (
      #"{"podSelector":{},"ingress":[{"from":[{"namespaceSelector":{},"podSelector":{"matchLabels":{"app":"web"}}}]}]}"#,
      ["10.1.0.2,10.2.0.9 > all"]
    ),
    (
      #"{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.7/8","except":["10.3.0.0/16"]}}],"ports":[{"port":80},{"protocol":"UDP","port":53,"endPort":60}]}]}"#,
      ["10.0.0.0/8-10.3.0.0/16 > TCP 80-80 UDP 53-60"]
    ),
    (#"{"podSelector":{},"ingress":[{"ports":[{"port":"sql"}]}]}"#, ["anywhere > TCP 5432-5432"]),
    (#"{"podSelector":{},"ingress":[{"ports":[{"port":"none"}]}]}"#, ["anywhere > "]),
    (#"{"podSelector":{},"ingress":[{"ports":[{"protocol":"SCTP"}]}]}"#, ["anywhere > SCTP"]),
    (#"{"podSelector":{},"policyTypes":["Egress"],"ingress":[{}]}"#, ["open"]),
    (
      #"{"podSelector":{"matchExpressions":[{"key":"app","operator":"NotIn","values":["db"]}]}}"#, ["open"]
    ),
  ])
  func ingress(_ spec: String, _ expected: [String]) throws {
    let allowed = try Cluster().allowed([try policy(spec)])
    #expect(allowed.ingress == expected)
    #expect(allowed.problems == [:])
  }

  @Test(arguments: [
    (#"{"podSelector":{}}"#, ["open"]),
    (#"{"podSelector":{},"policyTypes":["Egress"]}"#, []),
    (#"{"podSelector":{},"egress":[{"to":[{"podSelector":{}}]}]}"#, ["10.1.0.2,10.1.0.3 > all"]),
    // One name, two numbers: each leads to its own pods only.
    (
      #"{"podSelector":{},"egress":[{"to":[{"namespaceSelector":{}}],"ports":[{"port":"http"},{"protocol":"UDP","port":53}]}]}"#,
      [
        "10.1.0.2,10.1.0.3,10.2.0.9 > UDP 53-53", "10.1.0.2 > TCP 8080-8080", "10.2.0.9 > TCP 9090-9090",
      ]
    ),
    (
      #"{"podSelector":{},"egress":[{"ports":[{"port":"http"}]}]}"#,
      ["10.1.0.2 > TCP 8080-8080", "10.2.0.9 > TCP 9090-9090"]
    ),
  ])
  func egress(_ spec: String, _ expected: [String]) throws {
    #expect(try Cluster().allowed([try policy(spec)]).egress == expected)
  }

  @Test func policiesAddUp() throws {
    let allowed = try Cluster().allowed([
      try policy(#"{"podSelector":{},"ingress":[{"ports":[{"port":1}]}]}"#, name: "a"),
      try policy(#"{"podSelector":{},"ingress":[{"ports":[{"port":2}]}]}"#, name: "b"),
      try policy(#"{"podSelector":{}}"#, name: "c"),
    ])
    #expect(allowed.ingress == ["anywhere > TCP 1-1", "anywhere > TCP 2-2"])
  }

  @Test(arguments: [
    (
      #"{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"ten"}}]}]}"#,
      #"spec.ingress[0].from[0].ipBlock.cidr: "ten" is no range such as 10.0.0.0/8; it allows nothing"#
    ),
    (
      #"{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["x"]}}]}]}"#,
      #"spec.ingress[0].from[0].ipBlock.except[0]: "x" is no range such as 10.1.0.0/16; the block allows nothing"#
    ),
    (
      #"{"podSelector":{},"ingress":[{"ports":[{"port":90,"endPort":80}]}]}"#,
      "ports[].port: 90 to 80 is no range of ports; it allows nothing"
    ),
  ])
  func whatCannotBeReadAllowsNothingAndIsNamed(_ spec: String, _ problem: String) throws {
    let allowed = try Cluster().allowed([try policy(spec)])
    #expect(allowed.ingress.allSatisfy { $0.hasPrefix(" > ") || $0.hasSuffix(" > ") }, "\(allowed.ingress)")
    #expect(allowed.problems == ["shop/p": [problem]])
  }

  @Test func podsOfTheNodesOwnNetworkAndThoseThatAreOverAreNoPeers() throws {
    for (spec, phase) in [(#""hostNetwork":true,"#, "Running"), ("", "Succeeded"), ("", "Failed")] {
      let gone = try Pod(
        lenient: JSONValue.parse(
          #"{"metadata":{"name":"a"},"spec":{\#(spec)"containers":[]},"status":{"phase":"\#(phase)","podIP":"10.1.0.7"}}"#
        ))
      #expect(PolicyPod(gone) == nil, "\(spec)\(phase)")
    }
  }

  @Test func addressesOfTheRuntimeCountBeforeTheServerKnowsThem() throws {
    let made = try Pod(lenient: JSONValue.parse(#"{"metadata":{"name":"a","namespace":"shop"}}"#))
    #expect(
      PolicyPod(made, addresses: ["10.1.0.8", "fd00::8"])?.addresses.map(\.description) == ["10.1.0.8", "fd00::8"])
  }
}
