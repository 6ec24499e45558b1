import HTTPServer
import JSON
import ObjectStore
import TestSupport
import Testing

@testable import APIServer

private func reader(_ objects: [String: JSONValue] = [:]) -> ObjectReader {
  ObjectReader(
    object: { objects[$0] },
    objects: { prefix in objects.filter { $0.key.hasPrefix(prefix) }.sorted { $0.key < $1.key }.map(\.value) })
}

private func request(_ peer: HTTPPeer) throws -> HTTPRequest {
  HTTPRequest(method: "GET", target: try #require(HTTPTarget("/api")), peer: peer)
}

@Suite struct Authentication {
  @Test func aCertificateNamesTheUserAndItsGroups() throws {
    let user = Authenticator().user(
      of: try request(.certificate(commonName: "ann", organizations: ["dev", "ops"])))
    #expect(user == UserInfo(name: "ann", groups: ["dev", "ops", "system:authenticated"]))
  }

  @Test func theUnixSocketIsForRootAndTheServersOwnUser() throws {
    let authenticator = Authenticator(ownUser: 1000)
    for (id, isIn) in [(UInt32(0), true), (1000, true), (1001, false), (.max, false)] {
      let user = authenticator.user(of: try request(.unix(user: id, group: 0, process: 1)))
      #expect((user?.groups.contains("system:masters") ?? false) == isIn, "\(id)")
    }
  }

  @Test func nobodyElseIsAnybody() throws {
    #expect(Authenticator().user(of: try request(.anonymous)) == nil)
    #expect(
      Authenticator().user(of: try request(.certificate(commonName: "", organizations: ["system:masters"]))) == nil)
    #expect(AccessRefusal.unauthorized.status["message"] == "Unauthorized")
    #expect(AccessRefusal.unauthorized.status["code"] == 401)
  }
}

@Suite struct Authorization {
  private static let node = UserInfo(name: "system:node:n1", groups: ["system:nodes", "system:authenticated"])
  private static let ann = UserInfo(name: "ann", groups: ["system:authenticated"])

  private static func pod(_ node: String, _ spec: JSONObject = [:]) -> JSONValue {
    var spec = spec
    spec["nodeName"] = .string(node)
    return ["metadata": [:], "spec": .object(spec)]
  }

  private static let objects: [String: JSONValue] = [
    "/pods/default/mine": pod(
      "n1",
      [
        "volumes": [
          ["name": "a", "secret": ["secretName": "vol"]], ["name": "b", "configMap": ["name": "conf"]],
          ["name": "c", "projected": ["sources": [["secret": ["name": "proj"]], ["configMap": ["name": "pconf"]]]]],
        ],
        "imagePullSecrets": [["name": "pull"]], "serviceAccountName": "robot",
        "containers": [
          [
            "name": "c",
            "env": [
              ["name": "E", "valueFrom": ["secretKeyRef": ["name": "env", "key": "k"]]],
              ["name": "F", "valueFrom": ["configMapKeyRef": ["name": "econf", "key": "k"]]],
            ], "envFrom": [["secretRef": ["name": "from"]]],
          ]
        ], "initContainers": [["name": "i", "envFrom": [["configMapRef": ["name": "iconf"]]]]],
      ]),
    "/pods/default/other": pod("n2", ["imagePullSecrets": [["name": "theirs"]]]),
  ]

  private func verdict(_ user: UserInfo, _ attributes: AccessAttributes) -> AccessRefusal? {
    do throws(AccessRefusal) {
      try Authorizer(reader: reader(Self.objects)).check(user, attributes)
      return nil
    } catch {
      return error
    }
  }

  @Test(arguments: [
    (
      AccessAttributes(verb: "list", resource: "pods", namespace: "default"),
      "pods is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    ),
    (
      AccessAttributes(verb: "get", resource: "nodes", name: "n1"),
      "nodes \"n1\" is forbidden: User \"ann\" cannot get resource \"nodes\" in API group \"\" at the cluster scope"
    ),
    (
      AccessAttributes(
        verb: "patch", group: "apps", resource: "deployments", subresource: "scale", namespace: "x", name: "web"),
      "deployments.apps \"web\" is forbidden: User \"ann\" cannot patch resource \"deployments/scale\" in API group \"apps\" in the namespace \"x\""
    ),
    (AccessAttributes(verb: "get", path: "/metrics"), "forbidden: User \"ann\" cannot get path \"/metrics\""),
  ])
  func aRefusalSaysWhoWantedWhat(_ attributes: AccessAttributes, _ message: String) throws {
    let refusal = try #require(verdict(Self.ann, attributes))
    #expect(refusal.message == message)
    #expect(refusal.code == 403 && refusal.reason == "Forbidden")
  }

  @Test func mastersMayEverything() {
    let admin = UserInfo(name: "a", groups: ["system:masters"])
    #expect(verdict(admin, AccessAttributes(verb: "delete", resource: "nodes", name: "n1")) == nil)
    #expect(verdict(admin, AccessAttributes(verb: "get", path: "/metrics")) == nil)
  }

  @Test(arguments: [
    ("get nodes n1", true), ("list nodes", true), ("create nodes", true), ("patch nodes n1", true),
    ("patch nodes/status n1", true), ("patch nodes n2", false), ("update nodes/status n2", false),
    ("delete nodes n2", false), ("deletecollection nodes", false),
    ("get leases.coordination.k8s.io kube-node-lease/n1", true),
    ("update leases.coordination.k8s.io kube-node-lease/n1", true),
    ("update leases.coordination.k8s.io kube-node-lease/n2", false),
    ("create leases.coordination.k8s.io kube-node-lease/", true),
    ("get leases.coordination.k8s.io kube-system/n1", false),
    ("list pods", false), ("watch pods default/", false), ("get pods default/mine", true),
    ("get pods default/other", false), ("get pods/status default/other", false), ("get pods default/gone", true),
    ("get pods/log default/mine", false), ("patch pods/status default/mine", true),
    ("patch pods/status default/other", false), ("delete pods default/mine", true),
    ("delete pods default/other", false), ("delete pods default/gone", true), ("create pods/exec default/mine", false),
    ("patch pods default/mine", false), ("create pods/binding default/mine", false),
    ("get secrets default/vol", true), ("get secrets default/proj", true), ("get secrets default/pull", true),
    ("get secrets default/env", true), ("get secrets default/from", true), ("get secrets default/theirs", false),
    ("get secrets default/conf", false), ("get secrets other/vol", false), ("list secrets default/", false),
    ("list secrets", false), ("delete secrets default/vol", false), ("create secrets default/", false),
    ("get configmaps default/conf", true), ("get configmaps default/pconf", true),
    ("get configmaps default/econf", true), ("get configmaps default/iconf", true),
    ("get configmaps default/vol", false), ("list services", true), ("watch endpointslices.discovery.k8s.io", true),
    ("update services default/x", false), ("create events default/", true), ("patch events default/e", true),
    ("delete events default/e", false), ("list deployments.apps", false),
    ("create tokenreviews.authentication.k8s.io", true), ("get serviceaccounts default/robot", true),
    ("create serviceaccounts/token default/robot", true), ("create serviceaccounts/token default/other", false),
    ("create serviceaccounts/token kube-system/robot", false), ("list serviceaccounts default/", false),
    ("update serviceaccounts default/robot", false), ("create certificatesigningrequests.certificates.k8s.io", true),
    ("update certificatesigningrequests.certificates.k8s.io/approval x", false),
    ("update certificatesigningrequests.certificates.k8s.io/status x", false),
    ("list networkpolicies.networking.k8s.io", true), ("create networkpolicies.networking.k8s.io default/", false),
    ("list clusterroles.rbac.authorization.k8s.io", false),
  ])
  func aNodeMayWhatIsItsOwn(_ wish: String, _ isAllowed: Bool) {
    let words = wish.split(separator: " ").map(String.init)
    var full = words[1].split(separator: "/").map(String.init)
    var attributes = AccessAttributes(verb: words[0])
    if full.count == 2 { attributes.subresource = full.removeLast() }
    let dot = full[0].firstIndex(of: ".")
    attributes.resource = String(dot.map { full[0][..<$0] } ?? full[0][...])
    attributes.group = dot.map { String(full[0][full[0].index(after: $0)...]) } ?? ""
    if words.count > 2 {
      let place = words[2].split(separator: "/", omittingEmptySubsequences: false).map(String.init)
      if place.count == 2 { attributes.namespace = place[0] }
      attributes.name = place[place.count - 1]
    }
    #expect((verdict(Self.node, attributes) == nil) == isAllowed, "\(attributes)")
  }

  @Test(arguments: ["list", "watch"]) func aNodeSeesNoPodsButItsOwn(_ verb: String) {
    var attributes = AccessAttributes(verb: verb, resource: "pods", nodeSelector: "n1")
    #expect(verdict(Self.node, attributes) == nil)
    attributes.nodeSelector = "n2"
    #expect(
      verdict(Self.node, attributes)?.message.hasSuffix("can only list/watch pods with spec.nodeName field selector")
        == true)
  }

  @Test func aWatchOfOneReferredSecretIsAllowed() {
    var attributes = AccessAttributes(verb: "watch", resource: "secrets", namespace: "default", nameSelector: "vol")
    #expect(verdict(Self.node, attributes) == nil)
    attributes.nameSelector = "theirs"
    #expect(
      verdict(Self.node, attributes)?.message.hasSuffix("no relationship found between node 'n1' and this object")
        == true)
  }

  @Test func whatPodsReferToIsFoundInAStoreAsItChanges() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let store = try await ObjectStore.open(directory: directory.path)
    let reader = ObjectReader(store: store)
    func put(_ name: String, node: String, secret: String) async throws {
      let pod: JSONValue = [
        "spec": ["nodeName": .string(node), "imagePullSecrets": [["name": .string(secret)]]]
      ]
      _ = try await store.commit(Transaction(puts: [("/pods/ns/\(name)", pod.encoded())]))
    }
    for index in 0..<200 { try await put("p\(index)", node: "n\(index % 2)", secret: "s\(index)") }
    #expect(reader.refers("n0", "ns", "s198", true) && !reader.refers("n1", "ns", "s198", true))
    #expect(!reader.refers("n0", "ns", "s198", false) && !reader.refers("n0", "other", "s198", true))
    try await put("p198", node: "n1", secret: "s198")
    #expect(!reader.refers("n0", "ns", "s198", true) && reader.refers("n1", "ns", "s198", true))
    _ = try await store.commit(Transaction(deletes: (0..<200).map { "/pods/ns/p\($0)" }))
    #expect(!reader.refers("n1", "ns", "s198", true))
    await store.close()
  }

  @Test func aNodesNameWithoutItsGroupIsNothing() {
    let impostor = UserInfo(name: "system:node:n1", groups: ["system:authenticated"])
    #expect(verdict(impostor, AccessAttributes(verb: "get", resource: "nodes", name: "n1")) != nil)
  }
}
