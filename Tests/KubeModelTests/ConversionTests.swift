import JSON
import KubeModel
import Testing

@Suite struct ConversionTests {
  private func alias(_ apiVersion: String, _ plural: String) throws -> Conversions.Alias {
    try #require(Conversions.alias(apiVersion: apiVersion, plural: plural))
  }

  @Test func anEventHasTwoForms() throws {
    let events = try alias("events.k8s.io/v1", "events")
    let spoken: JSONObject = [
      "apiVersion": "events.k8s.io/v1", "kind": "Event", "eventTime": "2026-01-31T12:00:00.000000Z",
      "regarding": ["kind": "Pod", "name": "web"], "note": "it flew", "reason": "Flew", "type": "Normal",
      "reportingController": "a/b", "deprecatedCount": 3,
    ]
    let stored = Conversions.stored(spoken, from: events)
    #expect(
      stored["apiVersion"] == "v1" && stored["involvedObject"]?["name"] == "web" && stored["message"] == "it flew")
    #expect(stored["count"] == 3 && stored["reportingComponent"] == "a/b")
    #expect(Conversions.spoken(stored, as: events) == spoken)
    #expect(Conversions.storedField("regarding.name", of: events) == "involvedObject.name")
    #expect(Conversions.alias(apiVersion: "v1", plural: "events") == nil)
  }

  @Test func anAutoscalerKeepsWhatTheOlderFormDoesNotKnow() throws {
    let autoscalers = try alias("autoscaling/v1", "horizontalpodautoscalers")
    let stored: JSONObject = [
      "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": ["name": "web"],
      "spec": [
        "maxReplicas": 5,
        "metrics": [
          [
            "type": "Resource",
            "resource": ["name": "cpu", "target": ["type": "Utilization", "averageUtilization": 70]],
          ],
          [
            "type": "Pods",
            "pods": ["metric": ["name": "hits"], "target": ["type": "AverageValue", "averageValue": "1k"]],
          ],
        ], "behavior": ["scaleDown": ["selectPolicy": "Max"]],
      ],
    ]
    let spoken = Conversions.spoken(stored, as: autoscalers)
    #expect(spoken["apiVersion"] == "autoscaling/v1" && spoken["spec"]?["targetCPUUtilizationPercentage"] == 70)
    #expect(spoken["spec"]?["metrics"] == nil)
    let annotations = try #require(spoken["metadata"]?["annotations"]?.object)
    #expect(
      annotations["autoscaling.alpha.kubernetes.io/metrics"]
        == #"[{"type":"Pods","pods":{"metricName":"hits","targetAverageValue":"1k"}}]"#)
    var back = Conversions.stored(spoken, from: autoscalers)
    #expect(back["metadata"] == ["name": "web"])
    back["metadata"] = stored["metadata"]
    #expect(back == stored)
  }
}
