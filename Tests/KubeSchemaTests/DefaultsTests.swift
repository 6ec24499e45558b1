import JSON
import KubeSchema
import Testing

@Suite struct KindDefaultsTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let apiVersion: String
    let kind: String
    let object: JSONValue
    let result: JSONValue
  }

  static let cases: [Case] = [
    Case(
      testDescription: "a job makes one pod", apiVersion: "batch/v1", kind: "Job",
      object: ["spec": ["template": ["metadata": ["labels": ["a": "b"]]]]],
      result: [
        "metadata": ["labels": ["a": "b"]],
        "spec": [
          "template": [
            "metadata": ["labels": ["a": "b"]],
            "spec": [
              "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
              "securityContext": [:], "terminationGracePeriodSeconds": 30,
            ],
          ], "completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false,
          "manualSelector": false, "podReplacementPolicy": "TerminatingOrFailed",
        ],
      ]),
    Case(
      testDescription: "a policy without egress is for ingress", apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy", object: ["spec": ["podSelector": [:], "ingress": [["ports": [["port": 80]]]]]],
      result: [
        "spec": [
          "podSelector": [:], "ingress": [["ports": [["port": 80, "protocol": "TCP"]]]], "policyTypes": ["Ingress"],
        ]
      ]),
    Case(
      testDescription: "a limit range fills from its maximum", apiVersion: "v1", kind: "LimitRange",
      object: ["spec": ["limits": [["type": "Container", "max": ["cpu": "1"], "min": ["memory": "1Mi"]]]]],
      result: [
        "spec": [
          "limits": [
            [
              "type": "Container", "max": ["cpu": "1"], "min": ["memory": "1Mi"], "default": ["cpu": "1"],
              "defaultRequest": ["cpu": "1", "memory": "1Mi"],
            ]
          ]
        ]
      ]),
    Case(
      testDescription: "a storage class deletes", apiVersion: "storage.k8s.io/v1", kind: "StorageClass",
      object: ["provisioner": "a/b"],
      result: ["provisioner": "a/b", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"]),
    Case(
      testDescription: "an autoscaler looks at the CPU", apiVersion: "autoscaling/v2", kind: "HorizontalPodAutoscaler",
      object: ["spec": ["maxReplicas": 3]],
      result: [
        "spec": [
          "maxReplicas": 3, "minReplicas": 1,
          "metrics": [
            [
              "type": "Resource",
              "resource": ["name": "cpu", "target": ["type": "Utilization", "averageUtilization": 80]],
            ]
          ],
        ]
      ]),
    Case(
      testDescription: "subjects are of the group", apiVersion: "rbac.authorization.k8s.io/v1", kind: "RoleBinding",
      object: ["roleRef": ["kind": "Role", "name": "r"], "subjects": [["kind": "User", "name": "u"]]],
      result: [
        "roleRef": ["kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"],
        "subjects": [["kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"]],
      ]),
    Case(
      testDescription: "a definition names its list", apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition", object: ["spec": ["names": ["kind": "Wren", "plural": "wrens"]]],
      result: [
        "spec": [
          "names": ["kind": "Wren", "plural": "wrens", "singular": "wren", "listKind": "WrenList"],
          "conversion": ["strategy": "None"],
        ]
      ]),
  ]

  @Test(arguments: cases) func kindsGetWhatTheyDoNotSay(_ each: Case) throws {
    let schema = Schema.kubernetes
    let type = try #require(schema.type(apiVersion: each.apiVersion, kind: each.kind))
    let result = schema.defaulted(each.object, as: type)
    #expect(result == each.result, "\(result.encodedString())")
    #expect(schema.defaulted(result, as: type) == result)
  }
}
