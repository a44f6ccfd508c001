using AfaNative.Kernels.Host;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// The blocked multiply behind linear layers and convolutions. A task is a block of rows times a range of panels of one expert;
/// its sums stay in
/// the worker's scratch until the last block of K, then the epilogue writes them out. K is cut by its length alone and summed in
/// order, so a result
/// depends neither on the number of threads nor on the batch.
/// </summary>
internal static unsafe class MatrixMultiplySimd
{
    private const int RowBlock = 240; // rows of A copied at once: 20 tiles, about 260 KiB in the second-level cache
    private const int LeastRows = 144; // fewer would have weights made ready for too little
    private const int PanelBlock = 10; // panels a task finishes: its sums are 240 x 320 floats
    private const int RowFloats = 170_000; // packed rows that stay in the second-level cache
    private const int CopyRows = 8; // rows on their way to a narrower type: in the first-level cache

    /// <summary>y[e, m, n] = epilogue(sum_k rows[e, m, k] panels[e][k, n]).</summary>
    public static void Run<TProduct, TRows, TPanels>(
        WorkerPool pool,
        TProduct product,
        TRows rows,
        int experts,
        int m,
        TPanels weights,
        in EpilogueArguments epilogue
    )
        where TProduct : struct, IProduct
        where TRows : struct, IRowSource
        where TPanels : struct, IPanelSource
    {
        if (m == 0)
            return;
        int k = weights.Terms,
            panels = weights.Panels;
        int kBlock = BlockOfTerms(k, product.Block),
            kBlocks = (k + kBlock - 1) / kBlock;
        // Tasks of one size: as many for every thread, if not by somewhat fewer rows, then by fewer panels each.
        int rowBlocks = (m + RowBlock - 1) / RowBlock,
            rowBlock = RowsOf(rowBlocks),
            panelBlock = PanelsOf(rowBlock);
        for (int r = rowBlocks; RowsOf(r) >= LeastRows; r++)
        {
            if (!Even(RowsOf(r), PanelsOf(RowsOf(r))))
                continue;
            rowBlock = RowsOf(r);
            panelBlock = PanelsOf(rowBlock);
            break;
        }

        rowBlocks = (m + rowBlock - 1) / rowBlock;
        while (panelBlock > 1 && experts * rowBlocks * ((panels + panelBlock - 1) / panelBlock) < 4 * pool.Threads)
            panelBlock = (panelBlock + 1) / 2;
        int panelBlocks = (panels + panelBlock - 1) / panelBlock;
        bool stay = Stay(rowBlock);
        var job = new Job<TProduct, TRows, TPanels>(
            product,
            rows,
            weights,
            epilogue,
            m,
            k,
            kBlock,
            rowBlock,
            panels,
            panelBlock,
            stay
        );
        pool.Run(
            experts * rowBlocks * panelBlocks,
            (task, worker) =>
            {
                int expert = task / (rowBlocks * panelBlocks),
                    rest = task - expert * rowBlocks * panelBlocks;
                // Neighbouring tasks share their weights' panels: rows run fastest.
                job.Execute(pool.Scratch(worker), expert, rest % rowBlocks, rest / rowBlocks);
            }
        );

        // Whole tiles.
        int RowsOf(int blocks) =>
            Math.Min(
                RowBlock,
                ((m + blocks - 1) / blocks + RegisterTile.MaxRows - 1) / RegisterTile.MaxRows * RegisterTile.MaxRows
            );

        // Rows that have to be packed stay so, all their terms, for as many panels as there may be, where the second-level cache
        // can hold them.
        bool Stay(int rowBlock) => !product.Plain && (long)rowBlock * kBlocks * Stride(product, kBlock) <= RowFloats;

        int PanelsOf(int rowBlock) => Stay(rowBlock) ? panels : Math.Min(PanelBlock, panels);

        bool Even(int rowBlock, int panelBlock)
        {
            int tasks = experts * ((m + rowBlock - 1) / rowBlock) * ((panels + panelBlock - 1) / panelBlock);
            return tasks >= 4 * pool.Threads && tasks % pool.Threads == 0;
        }
    }

    // A cache line between rows: powers of two would all fall into one set.
    private static int Stride<TProduct>(TProduct product, int terms)
        where TProduct : struct, IProduct => (product.Packed(terms) + 15 & ~15) + 16;

    /// <summary>Terms of the blocks that <paramref name="k"/> terms are cut into, at most <paramref name="most"/> each.</summary>
    public static int BlockOfTerms(int k, int most)
    {
        // Whole vectors of terms, so that panels read the other way round are cut where their storage is.
        int blocks = (k + most - 1) / most;
        return ((k + blocks - 1) / blocks + 15) & ~15;
    }

    private readonly struct Job<TProduct, TRows, TPanels>(
        TProduct product,
        TRows rows,
        TPanels weights,
        EpilogueArguments epilogue,
        int m,
        int k,
        int kBlock,
        int rowBlock,
        int panels,
        int panelBlock,
        bool stay
    )
        where TProduct : struct, IProduct
        where TRows : struct, IRowSource
        where TPanels : struct, IPanelSource
    {
        public void Execute(Scratch scratch, int expert, int rowIndex, int panelIndex)
        {
            int row0 = rowIndex * rowBlock,
                height = Math.Min(rowBlock, m - row0);
            int panel0 = panelIndex * panelBlock,
                width = Math.Min(panelBlock, panels - panel0);
            int stride = Stride(product, kBlock),
                kBlocks = (k + kBlock - 1) / kBlock,
                panelFloats = product.PanelRows(kBlock) * 32;
            long rowFloats = (long)rowBlock * stride,
                sumFloats = rowBlock * 32L;
            float* a = scratch.Floats(
                (stay ? kBlocks : 1) * rowFloats + panelFloats + (stay ? 1 : panelBlock) * sumFloats + CopyRows * (kBlock + 16)
            );
            float* widened = a + (stay ? kBlocks : 1) * rowFloats;
            float* sums = widened + panelFloats;
            float* copies = sums + (stay ? 1 : panelBlock) * sumFloats;
            if (stay)
            {
                for (int block = 0; block < kBlocks; block++)
                    Pack(expert, row0, height, block * kBlock, a + block * rowFloats, stride, copies, out _);
                for (int p = 0; p < width; p++)
                {
                    for (int block = 0; block < kBlocks; block++)
                    {
                        bool last = block == kBlocks - 1;
                        Panel(
                            expert,
                            row0,
                            height,
                            panel0 + p,
                            block * kBlock,
                            panel0 + (last && p + 1 < width ? p + 1 : p),
                            last
                                ? p + 1 < width
                                    ? 0
                                    : k
                                : (block + 1) * kBlock,
                            a + block * rowFloats,
                            stride,
                            widened,
                            sums
                        );
                    }
                }

                return;
            }

            for (int k0 = 0; k0 < k; k0 += kBlock)
            {
                float* left = Pack(expert, row0, height, k0, a, stride, copies, out int leftStride);
                for (int p = 0; p < width; p++)
                {
                    bool more = p + 1 < width;
                    Panel(
                        expert,
                        row0,
                        height,
                        panel0 + p,
                        k0,
                        more ? panel0 + p + 1 : panel0,
                        more ? k0 : k0 + kBlock,
                        left,
                        leftStride,
                        widened,
                        sums + p * sumFloats
                    );
                }
            }
        }

        // Rows times one block of terms of one panel, to its sums or, when these are whole, out. The panel wanted after it comes
        // from memory meanwhile.
        private void Panel(
            int expert,
            int row0,
            int height,
            int panel,
            int k0,
            int next,
            int nextK0,
            float* left,
            int stride,
            float* widened,
            float* sums
        )
        {
            int count = Math.Min(kBlock, k - k0),
                following = Math.Min(kBlock, k - nextK0),
                tiles = (height + product.Rows - 1) / product.Rows;
            bool last = k0 + count == k;
            float* packed = product.Panel(weights, expert, panel, k0, count, widened);
            for (int r = 0; r < height; r += product.Rows)
            {
                int n = Math.Min(product.Rows, height - r);
                float* c = sums + r * 32L;
                if (following > 0)
                    weights.Prefetch(expert, next, nextK0, following, r / product.Rows, tiles);
                if (last)
                    epilogue.Prefetch(n, expert, row0 + r, panel);
                product.Multiply(left + (long)r * stride, stride, n, packed, count, c, k0 > 0);
                if (last)
                    epilogue.Store(c, n, expert, row0 + r, panel);
            }
        }

        // Terms from k0 on of some rows as they are multiplied: packed to a, or where they lie.
        private float* Pack(int expert, int row0, int height, int k0, float* a, int stride, float* copies, out int leftStride)
        {
            int count = Math.Min(kBlock, k - k0);
            float* inPlace = rows.InPlace(expert, row0, k0, out int inPlaceStride);
            leftStride = stride;
            if (inPlace != null)
            {
                if (product.Plain)
                {
                    leftStride = inPlaceStride;
                    return inPlace;
                }

                product.PackRows(inPlace, inPlaceStride, height, count, a, stride);
                return a;
            }

            if (product.Plain)
            {
                rows.Copy(expert, row0, height, k0, count, a, stride);
                return a;
            }

            for (int r = 0; r < height; r += CopyRows)
            {
                int n = Math.Min(CopyRows, height - r);
                rows.Copy(expert, row0 + r, n, k0, count, copies, kBlock + 16);
                product.PackRows(copies, kBlock + 16, n, count, a + (long)r * stride, stride);
            }

            return a;
        }
    }
}
