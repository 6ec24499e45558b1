import HTTPServer
import JSON
import KubeModel
import KubeValidation
import Testing

@testable import APIServer

/// Limits, quotas, priorities, security levels and what pods get of their service account.
@Suite struct PolicyAdmissionTests {
  static let core = "/api/v1/namespaces/default"
  static let pods = "\(core)/pods"

  static func pod(_ name: String, _ container: JSONObject = [:], _ spec: JSONObject = [:]) -> JSONValue {
    var fields: JSONObject = ["name": "a", "image": "i"]
    for (key, value) in container.members { fields[key] = value }
    var whole: JSONObject = ["containers": [.object(fields)]]
    for (key, value) in spec.members { whole[key] = value }
    return ["metadata": ["name": .string(name)], "spec": .object(whole)]
  }

  @Test func aPodGetsTheTokenOfItsAccount() async throws {
    let world = try await TestServer()
    let spec = try await world.send("POST", Self.pods, Self.pod("a")).json["spec"]
    let volume = try #require(spec?["volumes"]?[0])
    let name = try #require(volume["name"]?.string)
    #expect(name.hasPrefix("kube-api-access-") && name.utf8.count == "kube-api-access-".utf8.count + 5)
    let sources = volume["projected"]?["sources"]
    #expect(sources?[0]?["serviceAccountToken"] == ["expirationSeconds": 3607, "path": "token"])
    #expect(sources?[1]?["configMap"]?["name"] == "kube-root-ca.crt")
    #expect(sources?[2]?["downwardAPI"]?["items"]?[0]?["path"] == "namespace")
    #expect(
      spec?["containers"]?[0]?["volumeMounts"] == [
        [
          "name": .string(name), "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        ]
      ])
    let without = try await world.send("POST", Self.pods, Self.pod("b", [:], ["automountServiceAccountToken": false]))
    #expect(without.json["spec"]?["volumes"] == nil)
    try await world.send(
      "PATCH", "\(Self.core)/serviceaccounts/default",
      ["automountServiceAccountToken": false, "imagePullSecrets": [["name": "reg"]]],
      type: "application/merge-patch+json")
    let plain = try await world.send("POST", Self.pods, Self.pod("c")).json["spec"]
    #expect(plain?["volumes"] == nil)
    #expect(plain?["imagePullSecrets"] == [["name": "reg"]])
    try await world.stop()
  }

  @Test func limitsAreGivenAndKept() async throws {
    let world = try await TestServer()
    let range: JSONValue = [
      "metadata": ["name": "l"],
      "spec": [
        "limits": [
          [
            "type": "Container", "default": ["cpu": "500m"], "defaultRequest": ["cpu": "100m"], "max": ["cpu": "1"],
            "min": ["cpu": "50m"],
          ]
        ]
      ],
    ]
    try #require(try await world.send("POST", "\(Self.core)/limitranges", range).status == 201)
    let made = try await world.send("POST", Self.pods, Self.pod("a"))
    #expect(
      made.json["spec"]?["containers"]?[0]?["resources"] == ["requests": ["cpu": "100m"], "limits": ["cpu": "500m"]])
    #expect(
      made.json["metadata"]?["annotations"]?["kubernetes.io/limit-ranger"]
        == "LimitRanger plugin set: cpu request for container a; cpu limit for container a")
    let large = try await world.send("POST", Self.pods, Self.pod("b", ["resources": ["limits": ["cpu": "2"]]]))
    #expect(large.status == 403)
    #expect(
      large.message
        == #"pods "b" is forbidden: [maximum cpu usage per Container is 1, but limit is 2, maximum cpu usage per Container is 1, but request is 2]"#
    )
    try await world.stop()
  }

  @Test func aQuotaIsNotExceeded() async throws {
    let world = try await TestServer()
    let quota: JSONValue = [
      "metadata": ["name": "q"],
      "spec": ["hard": ["pods": "2", "requests.cpu": "1", "count/deployments.apps": "0"]],
    ]
    try #require(try await world.send("POST", "\(Self.core)/resourcequotas", quota).status == 201)
    let silent = try await world.send("POST", Self.pods, Self.pod("a"))
    #expect(silent.message == #"pods "a" is forbidden: failed quota: q: must specify requests.cpu for: a"#)
    func asking(_ name: String, _ cpu: JSONValue) -> JSONValue {
      Self.pod(name, ["resources": ["requests": ["cpu": cpu]]])
    }
    #expect(try await world.send("POST", Self.pods, asking("a", "600m")).status == 201)
    let much = try await world.send("POST", Self.pods, asking("b", "600m"))
    #expect(
      much.message
        == #"pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"#
    )
    #expect(try await world.send("POST", Self.pods, asking("b", "100m")).status == 201)
    let many = try await world.send("POST", Self.pods, asking("c", "100m"))
    #expect(
      many.message == #"pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"#)
    let workload = try await world.send(
      "POST", "/apis/apps/v1/namespaces/default/deployments",
      [
        "metadata": ["name": "web"],
        "spec": [
          "selector": ["matchLabels": ["app": "web"]],
          "template": ["metadata": ["labels": ["app": "web"]], "spec": ["containers": [["name": "a", "image": "i"]]]],
        ],
      ])
    #expect(workload.message.hasPrefix(#"deployments.apps "web" is forbidden: exceeded quota: q"#))
    try await world.stop()
  }

  @Test func objectsMadeAtTheSameTimeDoNotExceedAQuotaTogether() async throws {
    let world = try await TestServer()
    let quota: JSONValue = ["metadata": ["name": "q"], "spec": ["hard": ["pods": "5"]]]
    try #require(try await world.send("POST", "\(Self.core)/resourcequotas", quota).status == 201)
    let codes = try await withThrowingTaskGroup(of: Int.self) { group in
      for number in 0..<20 {
        group.addTask { try await world.send("POST", Self.pods, Self.pod("p\(number)")).status }
      }
      return try await group.reduce(into: [Int: Int]()) { $0[$1, default: 0] += 1 }
    }
    #expect(codes == [201: 5, 403: 15])
    try await world.stop()
  }

  @Test func prioritiesComeFromClasses() async throws {
    let world = try await TestServer()
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    #expect(try await world.send("GET", classes).names == ["system-cluster-critical", "system-node-critical"])
    try #require(
      try await world.send(
        "POST", classes, ["metadata": ["name": "high"], "value": 1000, "preemptionPolicy": "Never"]
      ).status == 201)
    try #require(
      try await world.send("POST", classes, ["metadata": ["name": "usual"], "value": 7, "globalDefault": true]).status
        == 201)
    let second = try await world.send(
      "POST", classes, ["metadata": ["name": "other"], "value": 8, "globalDefault": true])
    #expect(second.message.hasSuffix("PriorityClass usual is already marked as default. Only one default can exist"))
    let high = try await world.send("POST", Self.pods, Self.pod("a", [:], ["priorityClassName": "high"])).json["spec"]
    #expect(high?["priority"] == 1000 && high?["preemptionPolicy"] == "Never")
    let usual = try await world.send("POST", Self.pods, Self.pod("b")).json["spec"]
    #expect(usual?["priority"] == 7 && usual?["priorityClassName"] == "usual")
    try await world.stop()
  }

  @Test func aNamespaceHoldsPodsToItsLevel() async throws {
    let world = try await TestServer()
    let label: JSONValue = [
      "metadata": [
        "labels": [
          "pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted",
        ]
      ]
    ]
    try #require(
      try await world.send(
        "PATCH", "/api/v1/namespaces/default", label, type: "application/merge-patch+json"
      ).status == 200)
    let privileged = try await world.send("POST", Self.pods, Self.pod("a", ["securityContext": ["privileged": true]]))
    #expect(
      privileged.message
        == #"pods "a" is forbidden: violates PodSecurity "baseline:latest": privileged (container "a" must not set securityContext.privileged=true)"#
    )
    let plain = try await world.send("POST", Self.pods, Self.pod("b"))
    #expect(plain.status == 201)
    #expect(plain.headers["warning"]?.contains(#"would violate PodSecurity \"restricted:latest\""#) == true)
    let wrong: JSONValue = [
      "metadata": ["name": "x", "labels": ["pod-security.kubernetes.io/enforce": "strict"]]
    ]
    #expect(try await world.send("POST", "/api/v1/namespaces", wrong).status == 422)
    try await world.stop()
  }

  @Test func theRestrictedLevelAsksForMuch() throws {
    var spec = PodSpec()
    var container = Container()
    container.name = "a"
    spec.containers = [container]
    #expect(
      PodSecurity.violations(ObjectMeta(), spec, .restricted)
        == """
        allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false), \
        unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]), \
        runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true), seccompProfile (pod or \
        container "a" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
        """)
    #expect(PodSecurity.violations(ObjectMeta(), spec, .baseline) == nil)
    spec.hostNetwork = true
    #expect(
      PodSecurity.violations(ObjectMeta(), spec, .baseline) == #"host namespaces (hostNetwork=true)"#)
  }

  @Test func jobsClaimsAndClassesGetWhatTheyLack() async throws {
    let world = try await TestServer()
    let job = try await world.send(
      "POST", "/apis/batch/v1/namespaces/default/jobs",
      [
        "metadata": ["name": "j"],
        "spec": ["template": ["spec": ["restartPolicy": "Never", "containers": [["name": "a", "image": "i"]]]]],
      ])
    try #require(job.status == 201, "\(job.text)")
    let uid = try #require(job.json["metadata"]?["uid"])
    #expect(job.json["spec"]?["selector"] == ["matchLabels": ["batch.kubernetes.io/controller-uid": uid]])
    #expect(job.json["spec"]?["template"]?["metadata"]?["labels"]?["job-name"] == "j")
    try #require(
      try await world.send(
        "POST", "/apis/storage.k8s.io/v1/storageclasses",
        [
          "metadata": ["name": "fast", "annotations": ["storageclass.kubernetes.io/is-default-class": "true"]],
          "provisioner": "a/b",
        ]
      ).status == 201)
    let claim = try await world.send(
      "POST", "\(Self.core)/persistentvolumeclaims",
      [
        "metadata": ["name": "data"],
        "spec": ["accessModes": ["ReadWriteOnce"], "resources": ["requests": ["storage": "1Gi"]]],
      ])
    try #require(claim.status == 201, "\(claim.text)")
    #expect(claim.json["spec"]?["storageClassName"] == "fast")
    #expect(claim.json["metadata"]?["finalizers"] == ["kubernetes.io/pvc-protection"])
    #expect(claim.json["status"]?["phase"] == "Pending")
    try await world.stop()
  }

  @Test func anIngressWithoutAClassGetsTheDefaultOne() async throws {
    let world = try await TestServer()
    let classes = "/apis/networking.k8s.io/v1/ingressclasses"
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
    func ingress(_ name: String, _ annotations: JSONValue = [:]) -> JSONValue {
      [
        "metadata": ["name": .string(name), "annotations": annotations],
        "spec": ["defaultBackend": ["service": ["name": "s", "port": ["number": 80]]]],
      ]
    }
    #expect(try await world.send("POST", ingresses, ingress("none")).json["spec"]?["ingressClassName"] == nil)
    for name in ["old", "new"] {
      try await world.send(
        "POST", classes,
        [
          "metadata": [
            "name": .string(name), "annotations": ["ingressclass.kubernetes.io/is-default-class": "true"],
          ], "spec": ["controller": "example.com/c"],
        ])
      world.advance(seconds: 1)
    }
    let made = try await world.send("POST", ingresses, ingress("a"))
    #expect(made.json["spec"]?["ingressClassName"] == "new", "\(made.text)")
    let named = try await world.send("POST", ingresses, ingress("b", ["kubernetes.io/ingress.class": "x"]))
    #expect(named.json["spec"]?["ingressClassName"] == nil)
    try await world.stop()
  }

  @Test func aClaimGrowsWhereItsClassLetsIt() async throws {
    let world = try await TestServer()
    let claims = "\(Self.core)/persistentvolumeclaims"
    for (name, grows) in [("fixed", false), ("grows", true)] {
      try await world.send(
        "POST", "/apis/storage.k8s.io/v1/storageclasses",
        ["metadata": ["name": .string(name)], "provisioner": "p", "allowVolumeExpansion": .bool(grows)])
      try await world.send(
        "POST", claims,
        [
          "metadata": ["name": .string(name)],
          "spec": [
            "storageClassName": .string(name), "accessModes": ["ReadWriteOnce"],
            "resources": ["requests": ["storage": "1Gi"]],
          ],
        ])
    }
    func grow(_ name: String) async throws -> TestServer.Answer {
      try await world.send(
        "PATCH", "\(claims)/\(name)", ["spec": ["resources": ["requests": ["storage": "2Gi"]]]],
        type: "application/merge-patch+json")
    }
    #expect(try await grow("grows").status == 422, "it is not bound yet")
    for name in ["fixed", "grows"] {
      try await world.send(
        "PATCH", "\(claims)/\(name)/status", ["status": ["phase": "Bound"]], type: "application/merge-patch+json")
    }
    let fixed = try await grow("fixed")
    #expect(fixed.status == 403 && fixed.message.contains("only dynamically provisioned pvc can be resized"))
    let grown = try await grow("grows")
    #expect(grown.status == 200, "\(grown.text)")
    try await world.stop()
  }
}
