using System;
using System.Collections.Generic;
using Unity.InferenceEngine;
using UnityEngine;

namespace Automl
{
    /// <summary>What a pointer network may choose next.</summary>
    public enum PointerRule
    {
        /// <summary>Anything, until it chooses the end.</summary>
        Free,

        /// <summary>Each point once.</summary>
        Tour,

        /// <summary>Each point at most once, and the end after three.</summary>
        Hull,
    }

    /// <summary>
    /// A pointer network. Sentis has no loops, so that encoder and step are graphs and the loop is
    /// here. README.md says rule and turns of this model, and for how many points it is.
    /// </summary>
    public sealed class PointerNetwork : IDisposable
    {
        readonly TrainedModel encoder;
        readonly TrainedModel step;
        readonly PointerRule rule;
        readonly int turns;

        public PointerNetwork(
            ModelAsset encoder, ModelAsset step, PointerRule rule, int turns,
            BackendType backend = BackendType.CPU)
        {
            this.encoder = new TrainedModel(encoder, backend);
            this.step = new TrainedModel(step, backend);
            this.rule = rule;
            this.turns = turns;
        }

        /// <summary>
        /// The chosen points in order, counted from zero, without the end. Coordinates are the
        /// points one after the other, <paramref name="dimensions"/> numbers each.
        /// </summary>
        public async Awaitable<List<int>> Decode(float[] coordinates, int dimensions)
        {
            var count = coordinates.Length / dimensions;
            var values = await encoder.Run(new Dictionary<string, float[]> { ["points"] = coordinates });
            var used = new bool[count + 1];
            var chosen = new List<int>();
            while (chosen.Count < turns)
            {
                values["mask"] = Forbidden(used);
                var found = await step.Run(values);
                var choice = Largest(found["logits"]);
                if (choice == 0)
                    break;
                values["h"] = found["h_next"];
                values["c"] = found["c_next"];
                var given = new float[dimensions];
                Array.Copy(coordinates, (choice - 1) * dimensions, given, 0, dimensions);
                values["point_prev"] = given;
                used[choice] = true;
                chosen.Add(choice - 1);
            }
            return chosen;
        }

        /// <summary>1 for what may not be chosen next; position 0 is the end.</summary>
        float[] Forbidden(bool[] used)
        {
            var mask = new float[used.Length];
            if (rule == PointerRule.Free)
                return mask;
            var count = 0;
            for (var i = 1; i < used.Length; i++)
            {
                mask[i] = used[i] ? 1f : 0f;
                count += used[i] ? 1 : 0;
            }
            mask[0] = count < (rule == PointerRule.Tour ? used.Length - 1 : 3) ? 1f : 0f;
            return mask;
        }

        static int Largest(float[] values)
        {
            var best = 0;
            for (var i = 1; i < values.Length; i++)
                if (values[i] > values[best])
                    best = i;
            return best;
        }

        public void Dispose()
        {
            encoder.Dispose();
            step.Dispose();
        }
    }
}
