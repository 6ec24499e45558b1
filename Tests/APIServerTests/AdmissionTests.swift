import JSON
import ObjectStore
import Testing

@testable import APIServer

@Suite struct AdmissionTests {
  static let services = "/api/v1/namespaces/default/services"
  static let pods = DeleteTests.pods

  static func service(_ name: String, _ spec: JSONObject = [:], port: JSONObject = [:]) -> JSONValue {
    var ports: JSONObject = ["port": 80]
    for (key, value) in port.members { ports[key] = value }
    var whole: JSONObject = ["ports": [.object(ports)], "selector": ["app": "web"]]
    for (key, value) in spec.members { whole[key] = value }
    return ["metadata": ["name": .string(name)], "spec": .object(whole)]
  }

  @Test func aPodIsGivenWhatItLacks() async throws {
    let world = try await TestServer()
    let answer = try await world.send("POST", Self.pods, DeleteTests.pod("a"))
    try #require(answer.status == 201, "\(answer.text)")
    let spec = answer.json["spec"]
    #expect(spec?["serviceAccountName"] == "default")
    #expect(spec?["priority"] == 0)
    #expect(spec?["preemptionPolicy"] == "PreemptLowerPriority")
    #expect(spec?["restartPolicy"] == "Always")
    #expect(spec?["schedulerName"] == "default-scheduler")
    #expect(
      spec?["tolerations"]?.array?.map { $0["key"]?.string } == [
        "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable",
      ])
    #expect(answer.json["status"] == ["phase": "Pending", "qosClass": "BestEffort"])
    try await world.stop()
  }

  @Test(arguments: [
    (#"{"limits":{"cpu":"1","memory":"1Gi"}}"#, "Guaranteed"), (#"{"requests":{"cpu":"1"}}"#, "Burstable"),
    (#"{"limits":{"cpu":"1000m","memory":"1Gi"},"requests":{"cpu":"1","memory":"1024Mi"}}"#, "Guaranteed"),
    (#"{"limits":{"cpu":"1"}}"#, "Burstable"), ("{}", "BestEffort"),
  ])
  func qualityOfServiceFollowsFromTheResources(_ resources: String, _ expected: String) async throws {
    let world = try await TestServer()
    var pod = try #require(DeleteTests.pod("a").object)
    pod["spec"] = ["containers": [["name": "c", "image": "i", "resources": try JSONValue.parse(resources)]]]
    let answer = try await world.send("POST", Self.pods, .object(pod))
    #expect(answer.json["status"]?["qosClass"]?.string == expected, "\(answer.text)")
    try await world.stop()
  }

  @Test func whatAPodMayNotNameIsForbidden() async throws {
    let world = try await TestServer()
    var pod = try #require(DeleteTests.pod("a").object)
    pod[object: "spec"]["serviceAccountName"] = "none"
    let account = try await world.send("POST", Self.pods, .object(pod))
    #expect(account.status == 403)
    #expect(
      account.message
        == #"pods "a" is forbidden: error looking up service account default/none: serviceaccount "none" not found"#)
    pod[object: "spec"]["serviceAccountName"] = nil
    pod[object: "spec"]["priorityClassName"] = "high"
    let priority = try await world.send("POST", Self.pods, .object(pod))
    #expect(priority.message == #"pods "a" is forbidden: no PriorityClass with name high was found"#)
    try await world.stop()
  }

  @Test func namesAreGenerated() async throws {
    let world = try await TestServer()
    var pod = try #require(DeleteTests.pod("a").object)
    pod["metadata"] = ["generateName": "web-"]
    var names: Set<String> = []
    for _ in 0..<5 {
      let answer = try await world.send("POST", Self.pods, .object(pod))
      let name = try #require(answer.json["metadata"]?["name"]?.string)
      #expect(name.hasPrefix("web-") && name.utf8.count == 9)
      names.insert(name)
    }
    #expect(names.count == 5)
    try await world.stop()
  }

  @Test func aBindingGivesAPodItsNodeOnce() async throws {
    let world = try await TestServer()
    try await world.send("POST", Self.pods, DeleteTests.pod("a"))
    func binding(_ node: String) -> JSONValue {
      [
        "apiVersion": "v1", "kind": "Binding", "metadata": ["name": "a"],
        "target": ["kind": "Node", "name": .string(node)],
      ]
    }
    let bound = try await world.send("POST", "\(Self.pods)/a/binding", binding("n1"))
    #expect(bound.status == 201)
    #expect(bound.json["status"] == "Success")
    let pod = try await world.send("GET", "\(Self.pods)/a")
    #expect(pod.json["spec"]?["nodeName"] == "n1")
    #expect(pod.json["status"]?["conditions"]?[0]?["type"] == "PodScheduled")
    #expect(pod.json["status"]?["conditions"]?[0]?["status"] == "True")
    let again = try await world.send("POST", "\(Self.pods)/a/binding", binding("n2"))
    #expect(again.status == 409)
    #expect(
      again.message
        == #"Operation cannot be fulfilled on pods/binding "a": pod a is already assigned to node "n1""#)
    let nowhere = try await world.send("POST", "\(Self.pods)/a/binding", binding(""))
    #expect(nowhere.status == 422)
    #expect(
      try await world.send(
        "POST", "\(Self.pods)/none/binding",
        [
          "metadata": ["name": "none"], "target": ["name": "n1"],
        ]
      ).status == 404)
    let selected = try await world.send(
      "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1%2Cstatus.phase%21%3DFailed")
    #expect(selected.names == ["a"])
    try await world.stop()
  }

  @Test func aServiceIsGivenAnAddressOfItsOwn() async throws {
    let world = try await TestServer()
    let first = try await world.send("POST", Self.services, Self.service("a"))
    try #require(first.status == 201, "\(first.text)")
    let address = try #require(first.json["spec"]?["clusterIP"]?.string)
    #expect(address.hasPrefix("10.96."))
    #expect(first.json["spec"]?["clusterIPs"] == [.string(address)])
    #expect(first.json["spec"]?["ipFamilies"] == ["IPv4"])
    #expect(first.json["spec"]?["ipFamilyPolicy"] == "SingleStack")
    #expect(first.json["spec"]?["internalTrafficPolicy"] == "Cluster")
    #expect(first.json["spec"]?["ports"]?[0]?["targetPort"] == 80)
    #expect(first.json["status"] == ["loadBalancer": [:]])
    let taken = try await world.send("POST", Self.services, Self.service("b", ["clusterIP": .string(address)]))
    #expect(taken.status == 422)
    #expect(
      taken.message
        == #"Service "b" is invalid: spec.clusterIPs: Invalid value: ["\#(address)"]: failed to allocate IP "#
        + "\(address): provided IP is already allocated")
    let outside = try await world.send("POST", Self.services, Self.service("b", ["clusterIP": "10.1.0.1"]))
    #expect(outside.message.contains("is not in the valid range. The range of valid IPs is 10.96.0.0/16"))
    // Its address is free again once it is gone.
    #expect(try await world.send("DELETE", "\(Self.services)/a").json["kind"] == "Service")
    #expect(
      try await world.send("POST", Self.services, Self.service("b", ["clusterIP": .string(address)])).status == 201)
    let headless = try await world.send("POST", Self.services, Self.service("h", ["clusterIP": "None"]))
    #expect(headless.json["spec"]?["clusterIPs"] == ["None"])
    try await world.stop()
  }

  @Test func addressesHoldOverUpdatesAndRestarts() async throws {
    let world = try await TestServer()
    let first = try await world.send("POST", Self.services, Self.service("a", ["type": "NodePort"]))
    let node = try #require(first.json["spec"]?["ports"]?[0]?["nodePort"]?.integer, "\(first.text)")
    #expect((30000...32767).contains(node))
    #expect(first.json["spec"]?["externalTrafficPolicy"] == "Cluster")
    // A manifest applied again names neither address nor port.
    let again = try await world.send("PUT", "\(Self.services)/a", Self.service("a", ["type": "NodePort"]))
    #expect(again.status == 200, "\(again.text)")
    #expect(again.json["spec"] == first.json["spec"])
    let taken = try await world.send(
      "POST", Self.services, Self.service("b", ["type": "NodePort"], port: ["nodePort": .integer(node)]))
    #expect(
      taken.message
        == #"Service "b" is invalid: spec.ports[0].nodePort: Invalid value: \#(node): provided port is already allocated"#
    )
    let outside = try await world.send(
      "POST", Self.services, Self.service("b", ["type": "NodePort"], port: ["nodePort": 80]))
    #expect(
      outside.message.contains("provided port is not in the valid range. The range of valid ports is 30000-32767"))
    let inner = try await world.send("PUT", "\(Self.services)/a", Self.service("a", ["type": "ClusterIP"]))
    #expect(inner.json["spec"]?["ports"]?[0]?["nodePort"] == nil, "\(inner.text)")
    #expect(inner.json["spec"]?["clusterIP"] == first.json["spec"]?["clusterIP"])
    let free = try await world.send(
      "POST", Self.services, Self.service("b", ["type": "NodePort"], port: ["nodePort": .integer(node)]))
    #expect(free.status == 201, "\(free.text)")
    try await world.stop()
  }

  @Test func aFailedOrRepeatedCreationTakesNothing() async throws {
    let world = try await TestServer()
    try await world.send("POST", Self.services, Self.service("a"))
    let spec: JSONObject = ["clusterIP": "10.96.7.7"]
    #expect(try await world.send("POST", Self.services, Self.service("a", spec)).status == 409)
    #expect(try await world.send("POST", "\(Self.services)?dryRun=All", Self.service("b", spec)).status == 201)
    #expect(try await world.send("POST", Self.services, Self.service("b", spec)).status == 201)
    try await world.stop()
  }

  @Test func theFirstObjectsOfAClusterAreThere() async throws {
    let world = try await TestServer()
    #expect(
      try await world.send("GET", "/api/v1/namespaces").names
        == ["default", "kube-node-lease", "kube-public", "kube-system"])
    let service = try await world.send("GET", "\(Self.services)/kubernetes")
    #expect(service.json["spec"]?["clusterIP"] == "10.96.0.1")
    #expect(service.json["spec"]?["ports"]?[0]?["targetPort"] == 6443)
    let slice = try await world.send("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
    #expect(slice.json["endpoints"]?[0]?["addresses"] == ["192.0.2.1"])
    let revision = world.store.revision
    try await world.server.bootstrap()
    #expect(world.store.revision == revision)
    let taken = try await world.send("POST", Self.services, Self.service("x", ["clusterIP": "10.96.0.1"]))
    #expect(taken.status == 422)
    try await world.stop()
  }
}
